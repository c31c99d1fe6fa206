"""A run directory -> its report: read once, then made into a page and a card by pure functions."""
