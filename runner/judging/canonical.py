"""One text for equal values, in every process: what the hashes of an evaluation lock are made of.

A task of lm-eval may hold functions. What they do is the text of the file that they stand in, so its
hash stands for them; where a function lies in memory says nothing.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any


def canonical(value: Any) -> bytes:
    """Return a value as text.

    Raises:
        TypeError: it holds something without a text of its own; names its type. It is never printed
            instead: what Python prints may be an address, which differs in each process.

    >>> canonical({"b": (1, 2.5), "a": {3, 2}})
    b'{"a": {"set": ["2", "3"]}, "b": [1, 2.5]}'
    """
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    """Return a value in JSON's types. What JSON has no type for is an object with its kind as the key."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {_key(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(canonical(part).decode() for part in value)}
    if isinstance(value, bytes):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, (date, time)):
        return {type(value).__name__: value.isoformat()}
    if isinstance(value, functools.partial):
        return {"partial": _plain([value.func, value.args, value.keywords])}
    if callable(value):
        return {"function": _function(value)}
    return _of_a_library(value)


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"no canonical text for the key {key!r}: expected text")
    return key


def _of_a_library(value: Any) -> Any:
    """Return an array, a number of numpy or a picture by what is in it."""
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if all(hasattr(value, name) for name in ("mode", "size", "tobytes")):
        return {"picture": [value.mode, list(value.size), hashlib.sha256(value.tobytes()).hexdigest()]}
    raise TypeError(
        f"no canonical text for a value of type {type(value).__module__}.{type(value).__qualname__}"
    )


def _function(function: Any) -> list[Any]:
    """Return a function by its name, its line, its file's hash, and the values that it was made with.

    Where its file lies is left out. A function of a compiled module has a name and no file.
    """
    if inspect.isbuiltin(function) and inspect.ismodule(function.__self__):
        return [function.__module__, function.__qualname__]
    if inspect.isbuiltin(function) or inspect.ismethod(function):
        raise TypeError(f"no canonical text for {function.__qualname__}: a method of an object")
    if not (inspect.isfunction(function) or inspect.isclass(function)):
        raise TypeError(
            f"no canonical text for an object of {type(function).__qualname__}, which can be called"
        )
    whole = inspect.unwrap(function)
    file = inspect.getsourcefile(whole)
    if file is None or not Path(file).is_file():
        raise TypeError(f"no canonical text for {function.__qualname__}: it stands in no file")
    made_of = [_plain(cell.cell_contents) for cell in getattr(whole, "__closure__", None) or ()]
    line = inspect.getsourcelines(whole)[1]
    return [whole.__qualname__, line, hashlib.sha256(Path(file).read_bytes()).hexdigest(), made_of]
