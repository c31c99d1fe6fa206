"""What a user can get wrong about a model, a checkpoint or a method: one exception, one clear sentence."""

from __future__ import annotations


class NativeError(ValueError):
    """A model, a checkpoint, a batch or an option that cannot be used; the text says what to do."""


class DivergedError(NativeError):
    """A loss or a gradient that is not finite; no weight was updated."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(
            f"step {step}: {what}; no weight was updated; look for NaN in the records, or lower the learning rate"
        )
