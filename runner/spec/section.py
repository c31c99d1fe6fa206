"""What every mapping of the spec is: its base class, and how a key of it is declared.

Modules of such classes do without `from __future__ import annotations`: pydantic would compile each annotation
once more from its text, a tenth of the time that `validate` takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class UnsoundError(Exception):
    """A value was asked for that is missing or wrong in this spec, which is reported already."""


class Section(BaseModel):
    """A mapping of the spec. Unknown keys are errors; types are not coerced."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        defer_build=True,  # a section is built as a part of its spec, not once more by itself
    )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Refuse what `sound_part` left out; any other name is a mistake of ours."""
            if name in type(self).model_fields:
                raise UnsoundError(name)
            return super().__getattr__(name)


def given(section: Section) -> frozenset[str]:
    """Return the keys of a section that were written and say something else than their default.

    A key that says its default changes nothing, so that a spec with every default written out is as right as without.
    """
    fields = type(section).model_fields
    return frozenset(
        name
        for name in section.model_fields_set
        if fields[name].is_required() or getattr(section, name) != fields[name].get_default()
    )


def key(
    default: Any = ...,
    description: str = "",
    *,
    unit: str | None = None,
    form: Literal["path", "hub-or-path"] | None = None,
    placeholder: bool = False,
    **constraints: Any,
) -> Any:
    """Return a pydantic field; `unit`, `form` and `placeholder` go into the JSON Schema and the docs.

    `form` marks text that may name a local file: a `path` always does, `hub-or-path` where it
    starts with `./`, `../`, `/` or `~/`. `placeholder` marks free text that a stage alone reads, and
    in which `${env:NAME}` may therefore stay; any other free text refuses it. A section's class as `default`
    stands for that section with every key at its own default.
    """
    if isinstance(default, type) and issubclass(default, Section):
        default = default.model_construct()  # unlike `default()` it does not build the class by itself
    extra: dict[str, Any] = {"unit": unit} if unit else {}
    extra |= {"form": form} if form else {}
    extra |= {"placeholder": True} if placeholder else {}
    return Field(default, description=description, json_schema_extra=extra or None, **constraints)
