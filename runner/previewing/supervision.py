"""Whether the tokens that carry loss are the answers and nothing else. Pure.

What should be learned is read off the canonical record: the text of each assistant's message and the token that closes
its turn. What is learned is spelled by the tokens that the engine has given a label. Nothing of the engine's own
reckoning of turns and roles is used, so that a mistake there is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

IGNORED = -100
"""Label of a token that carries no loss."""
END_GAP = 3
"""Tokens between an answer and the token that closes it, at most (a line break of the template)."""
DAMAGED = "\N{REPLACEMENT CHARACTER}"
"""What a decoder writes for a part of a letter."""
PART = 0.25
"""Share of an answer that a stretch must hold to be taken for a part of it, and not for a word of the prompt."""

Fault = Literal[
    "nothing-learned",
    "prompt-learned",
    "image-learned",
    "wrong-label",
    "answer-missed",
    "end-missed",
    "dropped",
]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with what carries loss; `tokens` are places in the row, from 0."""

    fault: Fault
    message: str
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What the labels of a row teach."""

    findings: tuple[Finding, ...]
    answers_whole: int
    """Answers that are learned to their last letter."""
    answers_cut: int
    """Answers of which the row, being cut, holds a part or nothing."""


def pieces(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
    """Return what each token adds to the text; the last token of a letter of several tokens adds the letter.

    Args:
        ids: shape (token,).
        decode: ids to text, special tokens written out, nothing cleaned up.
    """
    found: list[str] = []
    first, read = 0, 0
    """Both where a letter begins: what the decoder is shown, and what of it is known already."""
    for after in range(1, len(ids) + 1):
        known, text = decode(ids[first:read]) if read > first else "", decode(ids[first:after])
        if len(text) <= len(known) or (text.endswith(DAMAGED) and after < len(ids)):
            found.append("")
            continue
        found.append(text[len(known) :])
        first, read = read, after
    return found


def judge(
    ids: Sequence[int],
    labels: Sequence[int],
    texts: Sequence[str],
    answers: Sequence[Collection[str]],
    ends: Collection[str],
    *,
    images: Collection[int] = (),
    cut: bool,
) -> Judged:
    """Return what is wrong with the labels of one row.

    Args:
        ids: shape (token,).
        labels: shape (token,); a token's id, or IGNORED.
        texts: shape (token,), what each token adds to the text, from `pieces`.
        answers: for each assistant's message its text, in each way in which the tokenizer may spell it.
        ends: tokens, as text, that close a turn.
        images: ids of tokens that stand for images.
        cut: whether the row was cut at the context, so that answers may be missing at its end.
    """
    learned = [place for place, label in enumerate(labels) if label != IGNORED]
    findings = [
        *_tokens(
            "wrong-label", "to be predicted as another", [n for n in learned if labels[n] != ids[n]], texts
        ),
        *_tokens(
            "image-learned",
            "of an image among those that carry loss",
            [n for n in learned if ids[n] in images],
            texts,
        ),
    ]
    if not learned:
        why = "its answer lies wholly beyond the context" if cut else "the engine has found no answer in it"
        return Judged(
            (Finding("nothing-learned", f"no token carries loss: {why}"),), 0, len(answers) if cut else 0
        )
    walk = _Walk(
        texts, [tuple(_one_line(text) for text in ways) for ways in answers], tuple(ends), len(ids), cut=cut
    )
    for run in _runs([place for place in learned if ids[place] not in images]):
        walk.over(run)
    return Judged((*findings, *walk.findings()), walk.whole, walk.cut_short)


def _tokens(fault: Fault, what: str, places: Sequence[int], texts: Sequence[str]) -> Iterator[Finding]:
    if places:
        yield Finding(fault, f"{_count(places)} {what}: {quoted(places, texts)}", tuple(places))


def _count(places: Sequence[int]) -> str:
    return "1 token" if len(places) == 1 else f"{len(places):,} tokens"


def quoted(places: Sequence[int], texts: Sequence[str], most: int = 12) -> str:
    """Return the first of some tokens as text, with their places.

    >>> quoted([4, 5], ["", "", "", "", "What", " is"])
    "'What' (4), ' is' (5)"
    """
    shown = ", ".join(f"{texts[place]!r} ({place})" for place in places[:most])
    return shown + (f" and {len(places) - most:,} more" if len(places) > most else "")


def _runs(places: Sequence[int]) -> Iterator[list[int]]:
    """Yield the stretches of neighbouring places."""
    run: list[int] = []
    for place in places:
        if run and place != run[-1] + 1:
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _one_line(text: str) -> str:
    """Return a text with every run of white space as one space: templates trim and join it as they like."""
    return " ".join(text.split())


class _Walk:
    """Goes over the stretches that carry loss and ticks off the answers in them."""

    def __init__(
        self,
        texts: Sequence[str],
        answers: Sequence[tuple[str, ...]],
        ends: tuple[str, ...],
        length: int,
        *,
        cut: bool,
    ) -> None:
        self.texts, self.answers, self.ends, self.length, self.cut = texts, answers, ends, length, cut
        self.next = 0
        """The answer that is looked for."""
        self.closed_at = -1
        """Place after which an end token still belongs to an answer; -1 where none may come."""
        self.unclosed: list[int] = []
        self.missed: list[int] = []
        self.foreign: list[int] = []
        self.whole = self.cut_short = 0

    def over(self, run: Sequence[int]) -> None:
        """Take one stretch, as places in the row."""
        letters, owners = _joined(run, self.texts)
        at, last = 0, run[-1] + 1 == self.length
        blanks: list[int] = []
        """Tokens of nothing but white space that what follows has to explain."""
        while at < len(letters):
            if letters[at] == " ":
                if not self._near(owners[at]) and not self.texts[owners[at]].strip():
                    blanks.append(owners[at])
                at += 1
                continue
            rest = letters[at:]
            end = next((end for end in self.ends if rest.startswith(end)), None)
            if end is not None and self._near(owners[at]):
                at += len(end)
                self.closed_at = owners[at - 1]
                if self.unclosed and self.unclosed[-1] == self.next - 1:
                    self.unclosed.pop()
                continue
            known = len(self.foreign)
            at = self._text(letters, owners, at, last=last)
            if len(self.foreign) > known:
                self.foreign += blanks
            blanks = []
        self.foreign += blanks

    def _near(self, place: int) -> bool:
        """Return whether a token stands right behind an answer or the end of one."""
        return self.closed_at >= 0 and place - self.closed_at <= END_GAP + 1

    def _text(self, letters: str, owners: Sequence[int], at: int, *, last: bool) -> int:
        """Take what stands at `at` and is no end of a turn; return where the next thing begins."""
        rest = letters[at:]
        if self.next == len(self.answers):
            return self._not_ours(owners, at, len(letters))
        ways = self.answers[self.next]
        way = next((way for way in ways if rest.startswith(way)), None)
        if way is not None:
            self.whole += 1
            self._answered(owners[at + len(way) - 1])
            return at + len(way)
        body = self._without_end(rest)
        if self.cut and last and any(way.startswith(body) for way in ways):
            self.cut_short += 1
            self.next += 1
            return len(letters)
        if place := self._later(rest, ways):
            return self._not_ours(owners, at, at + place)
        if any(body in way and len(body) >= len(way) * PART for way in ways):
            self.missed.append(self.next)
            self._answered(owners[at + len(body) - 1])
            return at + len(body)
        return self._not_ours(owners, at, len(letters))

    def _answered(self, place: int) -> None:
        self.unclosed.append(self.next)
        self.next += 1
        self.closed_at = place

    def _not_ours(self, owners: Sequence[int], first: int, after: int) -> int:
        self.foreign += dict.fromkeys(owners[first:after])
        self.closed_at = -1
        return after

    def _later(self, rest: str, ways: Sequence[str]) -> int:
        """Return where the answer begins further on, best where a turn ends behind it; 0 where nowhere."""
        closed = [rest.find(f"{way}{gap}{end}") for way in ways for end in self.ends for gap in ("", " ")]
        for found in (closed, [rest.find(way) for way in ways]):
            if places := [place for place in found if place > 0]:
                return min(places)
        return 0

    def _without_end(self, text: str) -> str:
        places = [place for end in self.ends if (place := text.find(end)) > 0]
        return text[: min(places)].rstrip(" ") if places else text.rstrip(" ")

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, once every stretch has been taken."""
        if self.foreign:
            self.foreign = sorted(set(self.foreign))
            told = quoted(self.foreign, self.texts)
            message = f"{_count(self.foreign)} of the prompt carr{'ies' if len(self.foreign) == 1 else 'y'} loss: {told}"
            yield Finding("prompt-learned", message, tuple(self.foreign))
        left = range(self.next, len(self.answers))
        if self.cut:
            self.cut_short += len(left)
        else:
            self.missed += left
        if self.missed:
            yield Finding("answer-missed", f"{_answers(self.missed)} not learned as the record has it")
        open_ = [number for number in self.unclosed if not (self.cut and number == self.next - 1)]
        if open_ and not self.foreign:
            named = " or ".join(self.ends) or "none is known"
            yield Finding(
                "end-missed",
                f"{_answers(open_)} learned without the token that ends the turn ({named}): the model would not learn "
                "to stop",
            )


def _answers(numbers: Sequence[int]) -> str:
    names = ", ".join(str(number + 1) for number in numbers)
    return f"answer {names} is" if len(numbers) == 1 else f"answers {names} are"


def _joined(run: Sequence[int], texts: Sequence[str]) -> tuple[str, list[int]]:
    """Return the text of a stretch with white space as one space, and for each letter the place of its token."""
    letters: list[str] = []
    owners: list[int] = []
    for place in run:
        for letter in texts[place]:
            if letter.isspace():
                if letters and letters[-1] == " ":
                    continue
                letter = " "
            letters.append(letter)
            owners.append(place)
    return "".join(letters), owners
