"""Small random models and tokenizers that stand in for real ones: same names, no weights needed."""
