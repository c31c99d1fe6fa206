"""Which records a task with labels judges, and what each label is asked by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converters.records.ecg_questions import naming
from eval.label_sets import LabelSet
from runner.judging.classification import label_tokens
from runner.judging.continuations import Continuation
from runner.judging.generation import prompts_of
from runner.judging.run import WHOLE, Judging
from runner.spec.problems import DataError

Record = Mapping[str, Any]

YES, NO = "yes", "no"


class NoLabelsError(DataError):
    """No record of a split has labels of the set; an ablation may have left out those that had."""


def with_labels(records: list[dict[str, Any]], task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records whose labels of the set are known and that ask what is to be judged, the first `most`.

    Raises:
        NoLabelsError: no record has labels of the set; says what the records have.
        DataError: none of those with labels asks what is to be judged.
    """
    label_set, asks = task["label_set"], task["asks"]
    known = [record for record in records if label_set in (record.get("labels") or {})]
    if not known:
        have = sorted({name for record in records for name in (record.get("labels") or {})})
        raise NoLabelsError(
            f"no record has labels of the set {label_set!r}; they have: {', '.join(have) or 'none'}\n"
            "  judge a set that they have, or take records from a source with labels"
        )
    kept = [record for record in known if not asks or record.get("asks") in asks]
    if not kept:
        have = sorted({str(record.get("asks")) for record in known})
        raise DataError(f"no record asks {', '.join(asks)}; they ask: {', '.join(have)}")
    return judged_once(kept, task)[: task["records"]]


def names_of(
    run: Judging, of: LabelSet, records: Sequence[Record]
) -> dict[str | None, dict[str, tuple[int, ...]]]:
    """Return what a record asks -> label -> the tokens of the answer that names it alone, as such records answer.

    Raises:
        DataError: an answer is not the same tokens after every prompt, or one begins with another.
    """
    asking: dict[str | None, list[Record]] = {}
    for record in records:
        asking.setdefault(record.get("asks"), []).append(record)
    return {
        asks: label_tokens(run, alike, {label.id: [naming(asks, of.name, [label.id])] for label in of.labels})
        for asks, alike in asking.items()
    }


def judged_once(records: Sequence[dict[str, Any]], task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records that are judged: the first of each image where no record's own question is asked."""
    own = task["prompt"] is None and ("generation" in task["scoring"] or task["ask"] == "record")
    if own or not records or "images" not in records[0]:
        return list(records)
    firsts: dict[tuple[str, ...], dict[str, Any]] = {}
    for record in records:
        firsts.setdefault(tuple(record["images"]), record)
    return list(firsts.values())


def asked_by(record: Record, prompt: str | None, of: LabelSet) -> Record:
    """Return the record with the task's question, whose answer names the labels; as it is without a question."""
    if prompt is None:
        return record
    true = set(record["labels"][of.name])
    answer = ", ".join(label.name for label in of.labels if label.id in true) or of.empty[0]
    return _asking(record, prompt.replace("{labels}", ", ".join(label.name for label in of.labels)), answer)


class EachLabel:
    """Asks for every label of a set by itself: the prompts, made once for all records that are asked alike.

    Args:
        run: the model's tokenizer and template.
        of: the labels.
        question: with `{label}`.
        records: some of those that are asked; yes and no must be the same tokens after each.
    """

    def __init__(self, run: Judging, of: LabelSet, question: str, records: Sequence[Record]) -> None:
        self._run, self._of, self._question = run, of, question
        words = {YES: [YES], NO: [NO]}
        asked = [_asking(record, question.replace("{label}", of.labels[0].name)) for record in records]
        self.tokens = label_tokens(run, asked, words)
        self._prompts: dict[tuple[str, int], list[tuple[int, ...]]] = {}

    def continuations(self, record: Record) -> list[Continuation]:
        """Return yes and no after every label's question, in the order of the set."""
        return [
            Continuation(prompt, self.tokens[word])
            for prompt in self._prompts_of(record)
            for word in (YES, NO)
        ]

    def said(self, nats: Sequence[float]) -> dict[str, Any]:
        """Return what a line says of the likelihoods."""
        pairs = zip(nats[::2], nats[1::2], strict=True)
        return {
            "log_likelihoods": {
                label.id: {YES: yes, NO: no} for label, (yes, no) in zip(self._of.labels, pairs, strict=True)
            },
            "label_tokens": {word: len(ids) for word, ids in self.tokens.items()},
        }

    def _prompts_of(self, record: Record) -> list[tuple[int, ...]]:
        """Return a prompt for each label; it depends on the system message and the number of images alone."""
        system = record["messages"][0]["content"] if record["messages"][0]["role"] == "system" else ""
        key = (system, len(record.get("images") or ()))
        if key not in self._prompts:
            asked = [
                _asking(record, self._question.replace("{label}", label.name)) for label in self._of.labels
            ]
            self._prompts[key] = [prompt.ids for prompt in prompts_of(self._run, asked, WHOLE)]
        return self._prompts[key]


def _asking(record: Record, question: str, answer: str = YES) -> dict[str, Any]:
    """Return a record with one question, about the same images."""
    first = record["messages"][:1] if record["messages"][0]["role"] == "system" else []
    told = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {**record, "asks": None, "messages": [*first, *told]}
