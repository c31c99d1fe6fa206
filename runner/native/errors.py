"""What a user can get wrong about a model, a checkpoint or a method: one exception, one clear sentence."""

from __future__ import annotations


class NativeError(ValueError):
    """A model, a checkpoint, a batch or an option that cannot be used; the text says what to do."""
