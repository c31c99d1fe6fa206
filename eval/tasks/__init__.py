"""Task files for lm-eval, usable by plain `lm_eval --include_path eval/tasks`. Data only: no task runs code."""
