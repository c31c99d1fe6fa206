"""The one way to the terminal: text of specs, data and file names passes here, and nothing in it is obeyed.

Bars are rich's, and what they say has passed `visible` too.
"""

from __future__ import annotations

import json
from typing import Any

import click

from runner.spec.visible import in_json, visible


def say(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text on stdout, or on stderr."""
    click.echo(visible(text), err=err, nl=nl)


def say_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    click.echo(in_json(json.dumps(value, indent=2, ensure_ascii=False)))
