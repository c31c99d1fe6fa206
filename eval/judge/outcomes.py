"""What can become of one question to a judge. Every record ends with one of these words, and all are counted."""

from __future__ import annotations

from types import MappingProxyType

JUDGED = "judged"

MEANING = MappingProxyType(
    {
        JUDGED: "every aspect has a number within the scale",
        "invalid": "the answer was not the JSON asked for, or lacked an aspect, to the last attempt",
        "truncated": "the answer broke off at its longest allowed length",
        "refused": "the judge, or a filter before it, declined to answer",
        "timeout": "no whole answer within the time allowed, to the last attempt",
        "unreachable": "the connection could not be made, or broke off, to the last attempt",
        "rate_limited": "the endpoint asked to be left alone (429), to the last attempt",
        "server_error": "the endpoint failed (5xx), to the last attempt",
        "rejected": "the endpoint did not take this request (another 4xx)",
    }
)
"""Outcome -> what it means, in the order of the report."""

OF_THE_ENDPOINT = frozenset({"timeout", "unreachable", "rate_limited", "server_error", "rejected"})
"""Outcomes that say nothing about the judged text; a continued run asks these again."""
