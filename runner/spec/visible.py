"""Text of somebody else's for a terminal: what would move the cursor, colour the screen or turn the reading order is shown."""

from __future__ import annotations

import re
from typing import Any

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\U000e0000-\U000e007f]"
)
"""Control characters but tab and line feed, marks that turn the reading order, line separators, halves of letters, tags."""


def visible(text: str) -> str:
    r"""Return a text with every character that a terminal obeys, or hides, written as an escape.

    >>> visible("\x1b[31mred\u202e"), visible("a\tb\nc")
    ('\\x1b[31mred\\u202e', 'a\tb\nc')
    """
    return _UNSEEN.sub(lambda match: _escape(match[0]), text)


def on_one_line(text: str) -> str:
    r"""Return a visible text without line ends, so that it cannot pass for a line of ours.

    >>> on_one_line("a\nb")
    'a\\nb'
    """
    return visible(text).replace("\n", "\\n")


def all_visible(value: Any) -> Any:
    """Return a value as JSON has it with every text in it visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): all_visible(item) for key, item in value.items()}
    return [all_visible(item) for item in value] if isinstance(value, (list, tuple)) else value


def in_json(text: str) -> str:
    r"""Return JSON that says the same with such characters as JSON's own escapes; they stand in its texts alone.

    >>> in_json('"\u009b31m"')
    '"\\u009b31m"'
    """
    return _UNSEEN.sub(lambda match: _json_escape(ord(match[0])), text)


def _escape(letter: str) -> str:
    code = ord(letter)
    if letter == "\r":
        return "\\r"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(code: int) -> str:
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
