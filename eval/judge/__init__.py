"""Judging free text by a language model behind an OpenAI-compatible endpoint: rubrics, client, cache."""
