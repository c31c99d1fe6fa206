"""Where a data set may lie: in files of this machine and on the hub. Whatever else fsspec can reach is taken away.

A data set names its files by addresses, and so does its card, which comes from whoever made it. One of fsspec's file
systems (`reference`) renders templates that stand in such an address, without a sandbox: Python of the data's author.
Others connect to any host.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

PROTOCOLS = frozenset({"file", "local", "hf", "zip", "tar", "gzip", "bz2", "xz", "lz4", "zstd"})
"""Files, the hub, and what either is packed in."""


@cache
def only_files_and_the_hub() -> None:
    """Take every other file system out of fsspec, once a process, before a data set is loaded.

    Then an address of another one is a `ValueError` of fsspec, "Protocol not known".
    """
    import datasets  # noqa: F401 - registers its own, which unpack

    registry = import_module("fsspec.registry")  # `fsspec.registry` is also the name of a mapping
    for known in (registry.known_implementations, registry._registry):
        for protocol in set(known) - PROTOCOLS:
            del known[protocol]
