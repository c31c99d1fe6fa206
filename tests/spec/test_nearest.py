"""Distances worked out by hand, and what is near enough."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from runner.spec.fields import classes_in
from runner.spec.model import LlmSpec
from runner.spec.nearest import distance, nearest


@pytest.mark.parametrize(
    ("a", "b", "steps"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("seed", "seed", 0),
        ("sed", "seed", 1),  # one letter lost
        ("seeed", "seed", 1),  # one too many
        ("seid", "seed", 1),  # one changed
        ("sede", "seed", 1),  # two neighbours swapped
        ("kitten", "sitting", 3),  # k->s, e->i, +g
        ("ca", "abc", 3),  # optimal string alignment: a swapped pair is not edited again
        ("learning_rte", "learning_rate", 1),
        ("micro_batch_sise", "micro_batch_size", 1),
        ("nad", "and", 1),
        ("dna", "and", 2),  # first and last letter changed
    ],
)
def test_distance(a: str, b: str, steps: int) -> None:
    assert distance(a, b) == steps
    assert distance(b, a) == steps


@pytest.mark.parametrize(
    ("word", "names", "found"),
    [
        ("cosin", ["constant", "cosine"], "cosine"),
        ("Learning-Rate", ["learning_rate"], "learning_rate"),  # case and dashes do not count
        ("xyz", ["abc"], None),
        ("zebra", ["cosine"], None),
        ("yb", ["by"], "by"),
        ("b", ["by"], "by"),
        ("micor", ["micro", "macro"], "micro"),
        ("anything", [], None),
        ("ab", ["abc", "abd"], "abc"),  # of two equally near the first
    ],
)
def test_nearest(word: str, names: list[str], found: str | None) -> None:
    assert nearest(word, names) == found


def test_a_third_of_the_letters_may_be_wrong() -> None:
    """Nine letters, three wrong: near enough. Four wrong: not."""
    assert nearest("abcdefxyz", ["abcdefghi"]) == "abcdefghi"
    assert nearest("abcdewxyz", ["abcdefghi"]) is None


def sections(cls: type[BaseModel]) -> set[type[BaseModel]]:
    found = {cls}
    for field in cls.model_fields.values():
        for inner in classes_in(field.annotation):
            found |= sections(inner)
    return found


def test_every_slip_in_every_key_that_there_is() -> None:
    """Each letter dropped, doubled or swapped: about 4,000 slips; gpuu may be gpu or gpus, and nothing tells."""
    total, wrong = 0, []
    for cls in sorted(sections(LlmSpec), key=lambda cls: cls.__name__):
        names = list(cls.model_fields)
        for name in names:
            slips = {name[:i] + name[i + 1 :] for i in range(len(name))}
            slips |= {name[: i + 1] + name[i:] for i in range(len(name))}
            slips |= {name[:i] + name[i + 1] + name[i] + name[i + 2 :] for i in range(len(name) - 1)}
            for slip in sorted(slips - set(names) - {""}):
                total += 1
                if nearest(slip, names) != name:
                    wrong.append(f"{cls.__name__}.{name}: {slip}")
    assert total > 3_000
    assert len(wrong) / total < 0.01, wrong
