"""The nearest training question: cosines worked by hand, equals, unknown words, any number of questions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import floors_text
from eval.floors_text import nearest_questions

KNOWN = ["what is asthma", "what is gout", "treatment of gout", "what causes asthma attacks"]


def test_each_question_is_nearest_to_itself() -> None:
    assert nearest_questions(KNOWN, KNOWN) == (0, 1, 2, 3)


def test_rare_words_count_for_more() -> None:
    """`is` stands in two of the four, `treatment` in one: with `gout` in common, the rarer one decides."""
    assert nearest_questions(KNOWN, ["treatment gout is"]) == (2,)


def test_a_cosine_worked_by_hand() -> None:
    """Of two questions a word of both weighs 1, a word of one ln(3/2) + 1 = 1.405.

    `gout pain pain` is (1, 2 * 1.405, 0) and `gout rest` (1, 0, 1.405). Asked for `gout gout pain`,
    (2, 1.405, 0), their cosines are 5.95 / (2.98 * 2.44) = 0.82 and 2 / (1.72 * 2.44) = 0.48.
    """
    assert nearest_questions(["gout rest", "gout pain pain"], ["gout gout pain"]) == (1,)


def test_of_equals_the_first_is_taken() -> None:
    assert nearest_questions(["gout", "asthma", "gout"], ["gout", "fever", "GOUT?"]) == (0, 0, 0)


@given(st.lists(st.sampled_from(["gout", "asthma attack", "what is fever", "??", ""]), max_size=9))
def test_one_place_for_each_question(asked: list[str]) -> None:
    found = nearest_questions(KNOWN, asked)
    assert len(found) == len(asked)
    assert set(found) <= set(range(len(KNOWN)))


def test_parts_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        f"{word} of {other}" for word in ("treatment", "what", "attacks") for other in ("gout", "asthma")
    ]
    whole = nearest_questions(KNOWN, asked)
    monkeypatch.setattr(floors_text, "_AT_ONCE", 2)
    assert nearest_questions(KNOWN, asked) == whole


@pytest.mark.parametrize(
    ("known", "says"), [([], "no training questions"), (["?", "a"], "no word of two letters or digits in 2")]
)
def test_nothing_to_compare_with_is_refused(known: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        nearest_questions(known, ["gout"])
