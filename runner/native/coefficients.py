"""How the weight of the first-order gradient follows the progress of a run: constant, two phases, or a line."""

from __future__ import annotations

from dataclasses import dataclass

from runner.native.errors import NativeError


def _share(where: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise NativeError(f"fusion.coef.{where}: expected a number in [0, 1], got {value}")


@dataclass(frozen=True)
class Constant:
    """The same weight throughout.

    >>> Constant(0.9).at(0.5)
    0.9
    """

    value: float

    def __post_init__(self) -> None:
        _share("value", self.value)

    def at(self, progress: float) -> float:
        """Return the weight at `progress`, the share of planned steps that are done."""
        del progress
        return self.value


@dataclass(frozen=True)
class TwoPhase:
    """`first` until the share `switch` of the run is done, `then` from there on.

    Published code executes (0.99, 0.90, 0.2) whatever it is configured with.

    >>> TwoPhase(0.99, 0.9, 0.2).at(0.1999), TwoPhase(0.99, 0.9, 0.2).at(0.2)
    (0.99, 0.9)
    """

    first: float
    then: float
    switch: float

    def __post_init__(self) -> None:
        for where in ("first", "then", "switch"):
            _share(where, getattr(self, where))

    def at(self, progress: float) -> float:
        """Return the weight at `progress`, the share of planned steps that are done."""
        return self.first if progress < self.switch else self.then


@dataclass(frozen=True)
class Linear:
    """A line from `start` at the share `begin` of the run to `end` at the share `until`; level outside.

    >>> Linear(1.0, 0.8, 0.0, 0.5).at(0.25), Linear(1.0, 0.8, 0.0, 0.5).at(0.9)
    (0.9, 0.8)
    """

    start: float
    end: float
    begin: float
    until: float

    def __post_init__(self) -> None:
        for where in ("start", "end", "begin", "until"):
            _share(where, getattr(self, where))
        if self.begin >= self.until:
            raise NativeError(
                f"fusion.coef: begin {self.begin} must be below until {self.until}; for a jump use two_phase"
            )

    def at(self, progress: float) -> float:
        """Return the weight at `progress`, the share of planned steps that are done."""
        part = min(1.0, max(0.0, (progress - self.begin) / (self.until - self.begin)))
        return self.start + part * (self.end - self.start)


Coefficient = Constant | TwoPhase | Linear
PUBLISHED = TwoPhase(first=0.99, then=0.90, switch=0.2)
