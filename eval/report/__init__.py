"""Results as people read them: pictures, one self-contained page, a model card. Values in, text out."""
