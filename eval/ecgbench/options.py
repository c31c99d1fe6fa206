"""Answers to questions with options: which of them a text chooses.

A letter counts where it is set as one ("C.", "(C)", "the answer is C"), so the article "A" and the A of "AF" choose
nothing. What the answer is said to be goes before options that are only spoken of, and these before letters set alone.
A letter that its clause rules out ("not option A", "option A does not fit") is no choice. Where no letter is set, the
words of one option choose it. Two different choices are none: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from eval.parse import LabelParser, folded

LETTERS = "ABCDEFGH"
_MARK = re.compile(r"(?:^|\s)\(?([A-H])[.):]\s+")
# A letter that is told. Before words, A is an article, unless they go on about the choice ("A because ...");
# a small a is a letter only where it is set ("a.", "(a)").
_GOES_ON = r"(?:because|since|as|and|or|but|is|for|due|given|rather|not)\b"
_LETTER = rf"(?:([B-Hb-h])(?![\w'-])|(A)(?![\w'-])(?!\s+(?!{_GOES_ON})[a-z])|(a)(?=[.):]))"
_OPENED = r"[\s:*_(\"']*"
_OPTION_WORD = rf"(?:(?i:option|choice)\b{_OPENED})?"
_SAID = re.compile(rf"\b(?i:answer|option|choice)\s*(?:(?i:is)\b|:){_OPENED}{_OPTION_WORD}{_LETTER}")
_NAMED = re.compile(rf"\b(?i:answers?|options?|choices?)\b{_OPENED}{_LETTER}")
_AND_ANOTHER = re.compile(rf"[*_)\"']*\s*(?:/|&|(?i:or|and)\b){_OPENED}{_OPTION_WORD}{_LETTER}")
_CLAUSE = re.compile(r"[.,;:!?\n]|\b(?:but|so|then|therefore|because|since)\b", re.IGNORECASE)
_RULED_OUT_BEFORE = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|exclud\w*|rul\w+ out|reject\w*|eliminat\w*|discard\w*|rather than|instead of)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_RULED_OUT_AFTER = re.compile(
    r"[*_)\"']*\s*(?:is|was|does|do|can|could|would|should|will|are)\s*"
    r"(?:not\b|n['\u2019]t\b|(?:wrong|incorrect|false|unlikely|excluded|ruled out)\b)",
    re.IGNORECASE,
)
_SET = re.compile(r"(?<![\w-])(?:\(([A-H])\)|([A-H])(?=[.):]))")
_ONLY_ANSWER = re.compile(r"only answer based on the given options.*", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"[^\W_]+")
_COMMAND = re.compile(r"\\[a-z]+")
_FINAL = re.compile(r"answer\s*:", re.IGNORECASE)


def final_answer(text: str) -> str:
    """Return what stands behind the last "Answer:", or the whole text where nothing does.

    >>> final_answer("No LBBB is seen. Answer: RBBB"), final_answer("RBBB. Answer:")
    ('RBBB', 'RBBB. Answer:')
    """
    marks = list(_FINAL.finditer(text))
    last = text[marks[-1].end() :].strip() if marks else ""
    return last or text


def lettered_options(question: str) -> dict[str, str]:
    """Return the options that a question lists by letter, in the order of the letters; the last one ends with its line.

    >>> lettered_options("Which is it? A. Atrial flutter B. A. fib C. Sinus rhythm")
    {'A': 'Atrial flutter', 'B': 'A. fib', 'C': 'Sinus rhythm'}
    """
    marks: list[re.Match[str]] = []
    for mark in _MARK.finditer(question):
        if len(marks) < len(LETTERS) and mark[1] == LETTERS[len(marks)]:
            marks.append(mark)
    ends = [mark.start() for mark in marks[1:]] + [len(question)]
    said = [question[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    return {
        mark[1]: words.rstrip(".,;")
        for mark, words in zip(
            marks, [*said[:-1], *(text.partition("\n")[0] for text in said[-1:])], strict=True
        )
    }


def listed_options(question: str) -> tuple[str, ...]:
    """Return the options behind the last "Options:", parted by commas.

    >>> listed_options("Noise? Options: yes, no, not sure. Only answer based on the given Options without any explanation.")
    ('yes', 'no', 'not sure')
    """
    if "Options:" not in question:
        return ()
    listed = _ONLY_ANSWER.sub("", question.rpartition("Options:")[2])
    return options_in(listed)


def options_in(listed: str) -> tuple[str, ...]:
    """Return options that commas part, such as a reference names them.

    >>> options_in("Yes, not sure.")
    ('Yes', 'not sure')
    """
    return tuple(option for part in listed.split(",") if (option := part.strip().rstrip(".").rstrip()))


def chosen_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """Return the letter that an answer chooses, None where it chooses none or several.

    Args:
        answer: the text.
        options: letter -> its words; empty where they are not known.
    """
    text = final_answer(answer)
    if whole := _whole(text, options):
        return whole
    out: set[str] = set()
    for told in (_SAID, _NAMED):
        letters, ruled_out = _letters(told, answer)
        out |= ruled_out
        if letters := letters - out:
            return _the_one(letters) if not options or letters <= options.keys() else None
    letters, ruled_out = _letters(_SET, text)
    out |= ruled_out
    letters -= out
    if options:
        letters &= options.keys()
    if letters or not options:
        return _the_one(letters)
    return _the_one(set(_named(tuple(options.items()), text)) - out)


def _whole(text: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of an answer that is nothing but a letter, an option's words, or both; whatever marks they have."""
    said = _words(text)
    if len(said) == 1 and said[0].upper() in (options or LETTERS):
        return said[0].upper()
    words = {letter: _words(option) for letter, option in options.items()}
    if not said:
        return None
    return _the_one({letter for letter, own in words.items() if said in (own, (letter.lower(), *own))})


def _words(text: str) -> tuple[str, ...]:
    """Return the words of a text, without marks and without commands of LaTeX ("boxed" of a boxed letter)."""
    return tuple(_WORD.findall(_COMMAND.sub(" ", folded(text))))


def _the_one(letters: set[str]) -> str | None:
    return next(iter(letters)) if len(letters) == 1 else None


def _letters(told: re.Pattern[str], text: str) -> tuple[set[str], set[str]]:
    """Return the letters that a pattern finds chosen, and those that their clause rules out.

    What stands behind a letter rules it out only where it is spoken of as an option: behind a letter that is set stand
    the option's own words ("C. Cannot be told").
    """
    chosen: set[str] = set()
    ruled_out: set[str] = set()
    for match in told.finditer(text):
        group = {_letter(match)}
        end = match.end()
        while more := _AND_ANOTHER.match(text, end):
            group.add(_letter(more))
            end = more.end()
        clause = _CLAUSE.split(text[: match.start()])[-1] + match.group()
        is_out = _RULED_OUT_BEFORE.search(clause) or (told is _NAMED and _RULED_OUT_AFTER.match(text, end))
        (ruled_out if is_out else chosen).update(group)
    return chosen, ruled_out


def _letter(match: re.Match[str]) -> str:
    return next(letter for letter in match.groups() if letter).upper()


def chosen_options(answer: str, options: tuple[str, ...]) -> frozenset[str]:
    """Return the listed options that an answer holds as whole words, in any case.

    >>> sorted(chosen_options("QT interval and QRS duration", ("qrs duration", "qt interval", "none")))
    ['qrs duration', 'qt interval']
    """
    return frozenset(_named(tuple((option, option) for option in options), final_answer(answer)))


def _named(options: tuple[tuple[str, str], ...], text: str) -> tuple[str, ...]:
    """Return the names of the options, given as (name, words), whose words a text holds; none of those without a word."""
    parser = _parser(options)
    return () if parser is None else parser.found(text)


@lru_cache(4096)
def _parser(options: tuple[tuple[str, str], ...]) -> LabelParser | None:
    """Return a parser that finds each option by its words; options with the same words are one."""
    words = {folded(words): name for name, words in reversed(options) if _WORD.search(words)}
    return LabelParser({name: [said] for said, name in words.items()}) if words else None
