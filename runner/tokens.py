"""Records as the engine sees them: text, tokens, and which tokens carry loss.

Evaluation and the token audit must judge exactly what training trains on, so both use this module,
and a test compares its labels with those of Axolotl's own `chat_template` strategy. The rule: the
template renders the whole conversation; the tokens of every assistant message carry loss, and so
does the first end token within three tokens after it; everything else does not. What is longer than
`context` is cut at the end.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from converters.image_rows import in_parts
from converters.templates import jinja_of
from runner.image_text import ImageText
from runner.spec.problems import DataError, MachineError

IGNORED = -100
"""Label of a token that carries no loss."""

END_TOKEN_GAP = 3
"""The end token may stand so many tokens after the answer (a line break of the template)."""

_PROBES = ("\ue000", "\ue001")
"""Private-use letters put in an answer's place to find where the template writes it."""

_CHUNK = 512
"""Records rendered and tokenised at a time."""

_BPE_FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
"""Names that a byte-level BPE's two files go by: transformers' own, and OpenAI's."""


@dataclass(frozen=True)
class Row:
    """One record as tokens.

    `input_ids` and `labels` have the same length, at most the context; a label is the token's id or
    `IGNORED`. `answer_bytes` counts the UTF-8 bytes of the answers that the kept labels spell.
    `tokens` and `characters` measure the whole text, before the cut.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    answer_bytes: int
    tokens: int
    characters: int
    bytes: int

    @property
    def label_tokens(self) -> int:
        """Tokens that carry loss. The first token is never predicted, so it does not count."""
        return sum(label != IGNORED for label in self.labels[1:])


def load_tokenizer(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """Return the tokenizer of a local folder or hub id.

    A folder may also hold nothing but the two files of a byte-level BPE, `vocab.json` and
    `merges.txt`, or `encoder.json` and `vocab.bpe` as OpenAI named them.

    Raises:
        MachineError: there is none, or it cannot be read; names it.
    """
    from transformers import AutoTokenizer, GPT2Tokenizer

    folder = Path(name)
    whole = (folder / "tokenizer_config.json").exists() or (folder / "tokenizer.json").exists()
    pair = next(((v, m) for v, m in _BPE_FILES if (folder / v).exists() and (folder / m).exists()), None)
    try:
        if pair and not whole:
            return GPT2Tokenizer(vocab=str(folder / pair[0]), merges=str(folder / pair[1]))
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"no tokenizer can be loaded from {name!r}: {reason}\n"
            "  give a hub id that is reachable or in the cache, or a folder with tokenizer.json, or with "
            "vocab.json and merges.txt"
        ) from error


def template_of(tokenizer: Any, template: str) -> str:
    """Return the Jinja text of a template by its word in the spec.

    Raises:
        DataError: the tokenizer's own template is asked for and it has none.
    """
    named = jinja_of(template)
    if named is not None:
        return named
    if not tokenizer.chat_template:
        raise DataError(
            "data.template is 'tokenizer', but this tokenizer comes without a chat template\n"
            "  name one (question_answer suits a model that was not tuned on chats)"
        )
    return str(tokenizer.chat_template)


def read_records(path: Path, most: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the canonical records of a JSON lines file, at most `most` of them.

    Raises:
        DataError: the file is missing or a line is no record; names the line.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(islice(file, most), start=1):
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise DataError(f"{path}:{number}: not a JSON line: {error}") from error
                if not isinstance(record, dict) or not record.get("messages"):
                    raise DataError(f"{path}:{number}: not a record: it has no messages")
                yield record
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def rows_of(
    tokenizer: Any,
    records: Iterable[Mapping[str, Any]],
    template: str,
    context: int,
    end_tokens: Sequence[str] = (),
    images: ImageText | None = None,
) -> Iterator[Row]:
    """Yield each record's row, in order.

    Args:
        tokenizer: a fast tokenizer (one that knows where in the text a token stands).
        records: canonical records.
        template: Jinja text, from `template_of`.
        context: rows are cut to this many tokens.
        end_tokens: tokens that end a turn beside the tokenizer's own end-of-sequence token.
        images: how the processor writes an image, for records that have some.

    Raises:
        MachineError: the tokenizer is not a fast one.
        DataError: the template refuses a record; names the record.
    """
    if not tokenizer.is_fast:
        raise MachineError(
            f"{type(tokenizer).__name__} does not say where its tokens stand in the text, so the answer's "
            "tokens cannot be told from the question's\n  use a tokenizer with a tokenizer.json"
        )
    ends = end_ids(tokenizer, end_tokens)
    remaining = iter(records)
    while chunk := list(islice(remaining, _CHUNK)):
        texts = [_render(tokenizer, record, record["messages"], template, images) for record in chunk]
        encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        for record, text, ids, offsets in zip(
            chunk, texts, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            spans = _answer_spans(tokenizer, record, text, template, images)
            yield _row(text, ids, offsets, spans, context, ends)


def prompt_text(
    tokenizer: Any, record: Mapping[str, Any], template: str, images: ImageText | None = None
) -> str:
    """Return what the template writes before the record's last answer, which it does not depend on.

    Spaces at the end are left out: tokenizers join them to the answer's first word, and a prompt that
    ends with one would ask for a word that does not begin a word.

    Raises:
        DataError: the template refuses the record or does not show its last answer; names the record.
    """
    text = _render(tokenizer, record, record["messages"], template, images)
    spans = _answer_spans(tokenizer, record, text, template, images)
    if len(spans) < sum(message["role"] == "assistant" for message in record["messages"]):
        raise DataError(f"the chat template does not show every answer of record {record.get('id')!r}")
    return text[: spans[-1][0]].rstrip(" ")


def end_ids(tokenizer: Any, end_tokens: Sequence[str]) -> tuple[frozenset[int], ...]:
    """Return sets of ids; of each set the first that follows an answer carries loss."""
    named = [tokenizer.encode(token, add_special_tokens=False) for token in end_tokens]
    turn = frozenset(ids[0] for ids in named if len(ids) == 1)
    end = frozenset(() if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,))
    return tuple(ids for ids in (turn, end) if ids)


def _render(
    tokenizer: Any,
    record: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    template: str,
    images: ImageText | None,
) -> str:
    from jinja2 import TemplateError

    shown = list(messages) if images is None else in_parts(messages, record.get("images", ()))
    try:
        text = str(
            tokenizer.apply_chat_template(
                shown, chat_template=template, tokenize=False, add_generation_prompt=False
            )
        )
        return text if images is None else images.expanded(text)
    except TemplateError as error:
        raise DataError(f"the chat template refuses record {record.get('id')!r}: {error}") from error


def _answer_spans(
    tokenizer: Any, record: Mapping[str, Any], text: str, template: str, images: ImageText | None
) -> list[tuple[int, int]]:
    """Return where the assistant's messages stand in `text`, as (first letter, after the last).

    Each is found by rendering the conversation with a letter in its place that the text does not
    have: what the two texts share before and after it is not the answer.
    """
    messages = record["messages"]
    probe = next((letter for letter in _PROBES if letter not in text), None)
    if probe is None:
        raise DataError(f"record {record.get('id')!r} holds the private-use letters U+E000 and U+E001")
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        changed = [*messages[:index], {**message, "content": probe}, *messages[index + 1 :]]
        other = _render(tokenizer, record, changed, template, images)
        start = _shared(text, other)
        end = len(text) - _shared(text[start:][::-1], other[start:][::-1])
        if end > start:
            spans.append((start, end))
    return spans


def _shared(a: str, b: str) -> int:
    """Return how many letters `a` and `b` have in common at their start."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle - 1)
    return low


def _row(
    text: str,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    spans: Sequence[tuple[int, int]],
    context: int,
    ends: Sequence[frozenset[int]],
) -> Row:
    starts = [first for first, _ in offsets]
    stops = [last for _, last in offsets]
    labels = [IGNORED] * len(ids)
    answer_bytes = 0
    for first, last in spans:
        begin, end = bisect_right(stops, first), bisect_left(starts, last)
        labels[begin:end] = ids[begin:end]
        for allowed in ends:
            nearby = range(end, min(end + END_TOKEN_GAP + 1, len(ids)))
            found = next((place for place in nearby if ids[place] in allowed), None)
            if found is not None:
                labels[found] = ids[found]
        kept = min(end, context)
        if kept > begin:
            answer_bytes += len(text[first : min(last, stops[kept - 1])].encode())
    return Row(
        input_ids=tuple(ids[:context]),
        labels=tuple(labels[:context]),
        answer_bytes=answer_bytes,
        tokens=len(ids),
        characters=len(text),
        bytes=len(text.encode()),
    )
