"""Answers to questions with options: which of them a text chooses.

A letter counts where it is set as one ("C.", "(C)", "the answer is C"), so the article "A" and the A of "AF" choose
nothing. Where no letter is set, the words of one option choose it. Two different choices are none: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from eval.parse import LabelParser

LETTERS = "ABCDEFGH"
_OPTION = re.compile(r"(?:^|\s)\(?([A-H])[.):]\s+(.+?)(?=\s+\(?[A-H][.):]\s|\s*$)", re.DOTALL)
_TOLD = re.compile(r"(?:answer|option|choice)\s*(?:is|:)?\s*:?\s*[*_(\"']*([A-H])(?![\w-])", re.IGNORECASE)
_SET = re.compile(r"(?<![\w-])(?:\(([A-H])\)|([A-H])(?=[.):]))")
_ONLY_ANSWER = re.compile(r"only answer based on the given options.*", re.IGNORECASE | re.DOTALL)
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
    """Return the options that a question lists by letter.

    >>> lettered_options("Which is it? A. Atrial flutter B. Sinus rhythm")
    {'A': 'Atrial flutter', 'B': 'Sinus rhythm'}
    """
    return {letter: words.strip().rstrip(".,;") for letter, words in _OPTION.findall(question)}


def listed_options(question: str) -> tuple[str, ...]:
    """Return the options behind the last "Options:", parted by commas.

    >>> listed_options("Noise? Options: yes, no, not sure. Only answer based on the given Options without any explanation.")
    ('yes', 'no', 'not sure')
    """
    if "Options:" not in question:
        return ()
    listed = _ONLY_ANSWER.sub("", question.rpartition("Options:")[2])
    return tuple(option for part in listed.split(",") if (option := part.strip().rstrip(".")))


def chosen_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """Return the letter that an answer chooses, None where it chooses none or several.

    Args:
        answer: the text.
        options: letter -> its words; empty where they are not known.
    """
    plain = answer.strip()
    if len(plain) == 1 and plain in LETTERS:
        return plain
    if told := _TOLD.findall(answer):
        last: str = told[-1].upper()
        return last if not options or last in options else None
    text = final_answer(answer)
    letters = {one or other for one, other in _SET.findall(text)}
    if options:
        letters &= options.keys()
    if letters:
        return letters.pop() if len(letters) == 1 else None
    if not options:
        return None
    found = _parser(tuple(options.items())).found(text)
    return found[0] if len(found) == 1 else None


def chosen_options(answer: str, options: tuple[str, ...]) -> frozenset[str]:
    """Return the listed options that an answer holds as whole words, in any case.

    >>> sorted(chosen_options("QT interval and QRS duration", ("qrs duration", "qt interval", "none")))
    ['qrs duration', 'qt interval']
    """
    if not options:
        return frozenset()
    return frozenset(_parser(tuple((option, option) for option in options)).found(final_answer(answer)))


@lru_cache(4096)
def _parser(options: tuple[tuple[str, str], ...]) -> LabelParser:
    """Return a parser that finds each option by its words; options with the same words are one."""
    words = {words.lower(): name for name, words in reversed(options)}
    return LabelParser({name: [said] for said, name in words.items()})
