"""ECG foundation models trained by our own PyTorch: models, adapters and methods, without a command line.

Arrays are `(record, lead, time)` in, `(record, class)` out. Nothing here draws from a global random generator,
reads a spec or writes to a run directory: a trainer hands in batches and gets `StepStats` back.
"""
