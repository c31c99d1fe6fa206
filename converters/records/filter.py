"""Which records are left out before the split, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from converters.records.record import Ledger, Record, answer_of, fingerprint, words
from runner.spec.sources import Filter

TOO_SHORT = "answer shorter than filter.min_answer_words"
TOO_LONG = "answer longer than filter.max_answer_words"
DUPLICATE = "duplicate of an earlier record"


def filtered(
    records: Iterable[Record], options: Filter, ledger: Ledger, seen: set[bytes] | None = None
) -> Iterator[Record]:
    """Yield the records that stay, in order; the others are counted in `ledger`.

    Args:
        records: canonical records.
        options: words are runs of characters between white space, of the last answer.
        ledger: gets every dropped record.
        seen: digests of the messages met so far; pass one set over several sources.
    """
    known: set[bytes] = set() if seen is None else seen
    for record in records:
        reason = _length_fault(record, options)
        if reason is None and options.deduplicate:
            digest = fingerprint(record)
            reason = DUPLICATE if digest in known else None
            known.add(digest)
        if reason is None:
            yield record
        else:
            ledger.drop(reason, record["id"])


def _length_fault(record: Record, options: Filter) -> str | None:
    count = words(answer_of(record))
    if count < options.min_answer_words:
        return TOO_SHORT
    if options.max_answer_words is not None and count > options.max_answer_words:
        return TOO_LONG
    return None
