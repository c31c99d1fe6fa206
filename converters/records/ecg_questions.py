"""What is known of a recording -> questions and answers about its page, by templates.

What is known are codes, put into words, and intervals measured in the signal. Every question has several wordings,
of which hash(seed, recording, question) takes one, so that a set is the same wherever it is made. An answer says
what the source says, and nothing that it does not: a diagnosis with a likelihood below 50 % is `possible`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from converters.records.ecg.intervals import Intervals
from converters.records.label_sets import label_set
from converters.records.record import Dropped, Record, order
from eval.label_sets import label_set as judged_set

NONE = "none of these"
"""What is answered where no label of a set holds."""
LIKELY = 50.0
"""Percent; a known likelihood below makes a diagnosis possible."""
NO_P_WAVES = frozenset(
    {"atrial fibrillation", "atrial flutter", "pacing rhythm", "normally functioning artificial pacemaker"}
)
"""Rhythms of which no PR interval is told, whatever was measured."""

WORDINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "report": (
            "Write a report of this ECG.",
            "What does this ECG show? Report rhythm, intervals, findings and a conclusion.",
            "Please interpret this 12-lead ECG and write a clinical report.",
        ),
        "superclasses": (
            "Which of these diagnostic classes does the ECG show? {labels}. Answer with the abbreviations, "
            "separated by commas, or 'none of these'.",
            "Name every class that holds for this ECG, by its abbreviation: {labels}. Write 'none of these' if there is none.",
        ),
        "rhythm": (
            "What is the rhythm of this ECG?",
            "Name the rhythm.",
            "Which rhythm do you see in this ECG?",
        ),
        "intervals": (
            "Give heart rate, PR interval, QRS duration and QT interval of this ECG.",
            "Measure this ECG: heart rate, PR, QRS and QT.",
        ),
        "verify": (
            "Does this ECG show {finding}? Answer yes or no.",
            "Is {finding} present in this ECG? Answer yes or no.",
        ),
    }
)
"""Question -> its wordings; those about other label sets are worded as `superclasses`."""
OF_A_SET = ("superclasses", "subclasses", "statements", "code15")
"""Questions whose word is that of a label set."""


@dataclass(frozen=True)
class Finding:
    """One thing that the source says about a recording."""

    words: str
    rhythm: bool = False
    possible: bool = False


@dataclass(frozen=True)
class Known:
    """What is known of one recording."""

    recording: str
    """Name of the recording over all sources, such as `ptbxl/7190`."""
    image: str
    """What the source calls the page that shows it."""
    group: str
    findings: tuple[Finding, ...]
    """In the source's order."""
    labels: Mapping[str, Sequence[str]]
    """Label set -> its labels that hold."""
    intervals: Intervals = field(default_factory=Intervals)
    split: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    keep_with: tuple[str, ...] = ()
    """Names of what keeps records together, as of `Record`."""
    part: str = "."
    """The part of the source that it is counted under."""


@dataclass(frozen=True)
class Asking:
    """One question about one recording."""

    known: Known
    question: str
    seed: int
    asked_for: str | None = None
    """`verify`: the finding that is asked for."""

    @property
    def place(self) -> str:
        """The recording."""
        return self.known.recording

    @property
    def part(self) -> str:
        """The part of the source that the recording belongs to."""
        return self.known.part


@dataclass(frozen=True)
class LeftOut:
    """A recording about which nothing is asked: it is counted by its reason."""

    recording: str
    part: str
    reason: str

    @property
    def place(self) -> str:
        """The recording."""
        return self.recording


def questions_about(
    known: Known, questions: Sequence[str], seed: int, pool: Sequence[str] = ()
) -> Iterator[Asking]:
    """Yield those of the questions that can be answered about a recording.

    Args:
        known: the recording.
        questions: as `data.questions`.
        seed: of the wording, and of what `verify` asks for.
        pool: `verify`: the findings of all recordings, as often as they occur, sorted; what is not there is drawn
            from it, so that a rare diagnosis is asked for as rarely as it is found.
    """
    for question in dict.fromkeys(questions):
        if question == "verify":
            finding = _to_verify(known, seed, pool)
            if finding is not None:
                yield Asking(known, question, seed, finding)
        elif _answerable(known, question):
            yield Asking(known, question, seed)


def _answerable(known: Known, question: str) -> bool:
    if question in OF_A_SET:
        return question in known.labels
    if question == "rhythm":
        return any(one.rhythm for one in known.findings)
    if question == "intervals":
        return known.intervals.heart_rate_bpm is not None
    return bool(known.findings)


def _to_verify(known: Known, seed: int, pool: Sequence[str]) -> str | None:
    """Return a finding that is there or, as often, one that is not; None where nothing fits."""
    there = sorted({one.words for one in known.findings if not one.possible})
    maybe = {one.words for one in known.findings}
    draw = int.from_bytes(order(f"verify {seed}", known.recording)[:8])
    if draw % 2 and there:
        return there[(draw >> 1) % len(there)]
    start = (draw >> 1) % len(pool) if pool else 0
    return next(
        (
            pool[(start + step) % len(pool)]
            for step in range(len(pool))
            if pool[(start + step) % len(pool)] not in maybe
        ),
        None,
    )


def to_record(raw: Asking | LeftOut) -> Record:
    """Return the record of one question.

    Raises:
        Dropped: the recording could not be used.
    """
    if isinstance(raw, LeftOut):
        raise Dropped(raw.reason, raw.recording)
    known = raw.known
    question, answer = _question(raw), _answer(raw)
    record: Record = {
        "id": f"{known.recording}/{raw.question}",
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        "group": known.group,
        "question": question,
        "focus": None,
        "source": "ecg_instruct_from_signals",
        "images": [known.image],
        "asks": raw.question,
        "labels": {name: list(labels) for name, labels in known.labels.items()},
    }
    if known.split is not None:
        record["split"] = known.split
    if known.attributes:
        record["attributes"] = dict(known.attributes)
    if known.keep_with:
        record["keep_with"] = list(known.keep_with)
    if raw.question == "report":
        record["reference"] = answer
    if raw.question == "verify":
        record["label"] = answer
    return record


def naming(question: str | None, of: str, labels: Sequence[str]) -> str:
    """Return the answer that names labels of a set, as records of this question have it.

    By their abbreviations where the question is about the set, as a sentence where it is about the rhythm, and in plain
    words to any other question.

    >>> naming("superclasses", "superclasses", ["NORM", "MI"]), naming("rhythm", "code15", ["SB"])
    ('NORM, MI', 'Sinus bradycardia.')
    """
    if question == of:
        return ", ".join(labels) or NONE
    said = {label.id: label.name for label in judged_set(of).labels}
    words = ", ".join(said[label] for label in labels) or NONE
    return _sentence(words) if question == "rhythm" else words


# ------------------------------------------------------------------------------------------------ words


def _question(raw: Asking) -> str:
    wordings = WORDINGS["superclasses" if raw.question in OF_A_SET else raw.question]
    number = int.from_bytes(order(f"wording {raw.seed} {raw.question}", raw.known.recording)[:8])
    labels = label_set(raw.question) if raw.question in OF_A_SET else {}
    listed = ", ".join(f"{label} ({words})" for label, words in labels.items())
    return wordings[number % len(wordings)].format(labels=listed, finding=raw.asked_for)


def _answer(raw: Asking) -> str:
    known = raw.known
    if raw.question in OF_A_SET:
        return naming(raw.question, raw.question, known.labels[raw.question])
    if raw.question == "rhythm":
        return _sentence(", ".join(one.words for one in known.findings if one.rhythm))
    if raw.question == "intervals":
        return _sentence(", ".join(_measured(known)))
    if raw.question == "verify":
        return "yes" if raw.asked_for in {one.words for one in known.findings} else "no"
    return report(known)


def report(known: Known) -> str:
    """Return a report: rhythm with rate, intervals, findings, conclusion.

    >>> report(Known("r", "i", "g", (Finding("normal ECG"), Finding("sinus rhythm", rhythm=True)), {}))
    'Sinus rhythm. Conclusion: normal ECG.'
    """
    rhythm = [one.words for one in known.findings if one.rhythm]
    rate, *others = [*_measured(known), ""] if known.intervals.heart_rate_bpm is not None else ["", ""]
    other = ", ".join(text for text in others if text)
    opening = ", ".join(rhythm) if rhythm else ("" if not rate else "rhythm not stated")
    found = [
        f"possible {one.words}" if one.possible else one.words
        for one in known.findings
        if not one.rhythm and one.words != "normal ECG"
    ]
    normal = any(one.words == "normal ECG" and not one.possible for one in known.findings)
    sentences = [
        " at ".join(text for text in (opening, rate.removeprefix("heart rate ")) if text),
        other,
        *found,
    ]
    if normal:
        sentences.append("conclusion: normal ECG")
    elif found:
        sentences.append("conclusion: abnormal ECG")
    return " ".join(_sentence(text) for text in sentences if text)


def _measured(known: Known) -> list[str]:
    """Return what was measured in words, the heart rate first."""
    intervals = known.intervals
    rhythms = {one.words for one in known.findings if one.rhythm}
    named = (
        ("heart rate", intervals.heart_rate_bpm, "beats per minute"),
        ("PR interval", None if rhythms & NO_P_WAVES else intervals.pr_ms, "ms"),
        ("QRS duration", intervals.qrs_ms, "ms"),
        ("QT interval", intervals.qt_ms, "ms"),
    )
    return [f"{name} {round(value)} {unit}" for name, value, unit in named if value is not None]


def _sentence(text: str) -> str:
    """Return a text with a capital at the beginning and a full stop at the end."""
    return f"{text[:1].upper()}{text[1:]}."
