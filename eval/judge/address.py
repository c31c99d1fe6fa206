"""Where an endpoint is, as far as its address tells. Pure, and without an HTTP library, so that a spec can be checked."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

STAND_IN = "rehearsal"
"""The word under `endpoint` for the stand-in that a rehearsal asks."""


def is_this_machine(url: str) -> bool:
    """Return whether an address is the loopback, so that nothing sent there leaves the machine.

    >>> is_this_machine("http://127.0.0.1:8000/v1"), is_this_machine("http://localhost@example.org/v1")
    (True, False)
    """
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_encrypted(url: str) -> bool:
    """Return whether an address is reached by HTTPS."""
    return urlsplit(url).scheme == "https"
