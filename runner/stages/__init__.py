"""The processes of a run: each module here is started as `python -m` by the executor."""
