"""What is wrong with a page that was asked for, all of it at once."""

from __future__ import annotations

from collections.abc import Sequence


class RenderError(ValueError):
    """A page cannot be drawn. `problems` holds one text a fault; the message joins them, with the record."""

    def __init__(self, record: str, problems: Sequence[str]) -> None:
        self.record, self.problems = record, tuple(problems)
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        super().__init__(
            "\n".join([*self.problems, f"{count} with the page of record {record!r}; nothing was drawn"])
        )
