"""A prompt of the spec with `{name}` fields: which there are, and what it says of one row. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter


class PromptError(ValueError):
    """A prompt that cannot be filled in; the message says what is wrong."""


def fields_of(prompt: str) -> tuple[str, ...]:
    """Return the names between braces, in order, each once. `{{` and `}}` stand for a brace.

    Nothing of Python's format language but the plain name is taken: a prompt is text, not a program.

    Raises:
        PromptError: a brace without its partner, or more than a name between two.

    >>> fields_of("{sex}, {age_years} years; {{not a field}}; {sex}")
    ('sex', 'age_years')
    """
    return tuple(dict.fromkeys(name for _, name in _parts(prompt) if name is not None))


def filled(prompt: str, values: Mapping[str, str]) -> str:
    """Return the prompt with each field replaced by its value.

    Raises:
        PromptError: as `fields_of`.
        KeyError: a field without a value.

    >>> filled("{sex}, {age_years} years", {"sex": "female", "age_years": "50"})
    'female, 50 years'
    """
    return "".join(text + (values[name] if name is not None else "") for text, name in _parts(prompt))


def _parts(prompt: str) -> list[tuple[str, str | None]]:
    parts: list[tuple[str, str | None]] = []
    try:
        for text, name, form, conversion in Formatter().parse(prompt):
            if form or conversion or (name is not None and not name.isidentifier()):
                raise PromptError(f"{{{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}}}: expected a name between the braces and nothing else")  # fmt: skip
            parts.append((text, name))
    except PromptError:
        raise
    except ValueError as error:
        raise PromptError(f"{error}: a brace that is meant as one is written twice") from error
    return parts
