"""runner: one YAML spec per fine-tuning experiment, checked, planned, launched and judged."""

__version__ = "0.1.0"
