"""`${env:NAME}` and `${env:NAME:-default}`: found in text, and replaced only where a value is used.

Free text keeps its placeholder in the loaded spec, the plan and every stored file, so that nothing
private is written to disk; the stage that needs the value puts it in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.spec.problems import MachineError

PLACEHOLDER = re.compile(r"\$\{env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:[^}$]|\$(?!\{))*))?\}")
"""A default ends where another placeholder begins: none stands inside another."""

ANY_PLACEHOLDER = re.compile(r"\$\{[^}]*\}?")
SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|(?:API)?KEY|SECRET|PASSWORD|PASSWD|PASS|(?!^PWD$)PWD|AUTH|CREDENTIALS?)(?:_|$)",
    re.IGNORECASE,
)
"""Variables whose name says that they hold a secret; `PWD` alone is the current folder."""

SECRET = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{30,}|gh[opsur]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|sk-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16})"
)
"""Access tokens by the form that their makers give them: Hugging Face, GitHub, GitLab, OpenAI, Slack, AWS."""


@dataclass(frozen=True)
class Missing:
    """A variable that is not set and has no default."""

    name: str


def substitute(text: str, environ: Mapping[str, str]) -> tuple[str, tuple[Missing, ...]]:
    """Return `text` with its placeholders replaced, and the variables that are not set.

    >>> substitute("${env:ROOT:-/data}/x", {})
    ('/data/x', ())
    """
    missing: list[Missing] = []

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if environ.get(name):
            return environ[name]
        if default is None:
            missing.append(Missing(name))
        return default or ""

    return PLACEHOLDER.sub(value, text), tuple(missing)


def without_values(text: str, environ: Mapping[str, str]) -> str:
    """Return a text as messages name it: a variable that is set by its name, one that is not by its default.

    >>> without_values("${env:ROOT:-/data}/x/${env:NAME}", {"NAME": "private"})
    '/data/x/${env:NAME}'
    """

    def named(match: re.Match[str]) -> str:
        name = match["name"]
        return f"${{env:{name}}}" if environ.get(name) else match["default"] or ""

    return PLACEHOLDER.sub(named, text)


def empty_unless_set(text: str) -> tuple[str, ...]:
    """Return the variables of which one must be set for `text` to be more than nothing; none where it always is.

    >>> empty_unless_set("${env:WEIGHTS:-}"), empty_unless_set("${env:WEIGHTS:-}/x"), empty_unless_set("${env:WEIGHTS}")
    (('WEIGHTS',), (), ())
    """
    if substitute(text, {}) != ("", ()):
        return ()
    return tuple(match["name"] for match in PLACEHOLDER.finditer(text))


def expand(value: Any, environ: Mapping[str, str]) -> Any:
    """Return `value` with the placeholders of every text in it replaced.

    Raises:
        MachineError: a variable is not set and has no default; names it.
    """
    if isinstance(value, str):
        text, missing = substitute(value, environ)
        if missing:
            raise MachineError(f"the environment variable {missing[0].name} is not set; the spec uses it")
        return text
    if isinstance(value, Mapping):
        return {key: expand(item, environ) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(expand(item, environ) for item in value)
    return value


def has_placeholder(value: Any) -> bool:
    """Return whether any text in `value` holds an `${env:...}` placeholder."""
    if isinstance(value, str):
        return PLACEHOLDER.search(value) is not None
    if isinstance(value, Mapping):
        return any(has_placeholder(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(has_placeholder(item) for item in value)
