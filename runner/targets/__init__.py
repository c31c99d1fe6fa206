"""Targets: where the stages of a run are processes."""
