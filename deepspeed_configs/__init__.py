"""Data only: one DeepSpeed config for each strategy; see README.md. A package, so that it can be found installed."""
