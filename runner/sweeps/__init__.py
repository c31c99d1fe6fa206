"""Sweeps: the arms of a spec as runs of their own, started one after another, and set side by side at the end."""
