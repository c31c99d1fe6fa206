"""The check of what carries loss, on rows written by hand: one word or mark a token."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.previewing.supervision import IGNORED, Judged, judge, pieces

END = "<end>"
IMAGE = 900
PROMPT = ["<bos>", "user", "\n", "Is", " it", " AF", "?", END, "\n", "model", "\n"]
ANSWER = ["No", ",", " sinus", " rhythm", ".", END]
TOLD = "No, sinus rhythm."


def row(
    texts: Sequence[str], learned: Sequence[int], answers: Sequence[str] = (TOLD,), *, cut: bool = False
) -> Judged:
    ids = [IMAGE if text == "<img>" else 10 + place for place, text in enumerate(texts)]
    labels = [one if place in learned else IGNORED for place, one in enumerate(ids)]
    return judge(
        ids, labels, list(texts), [(answer,) for answer in answers], (END, "<eos>"), images={IMAGE}, cut=cut
    )


def faults(judged: Judged) -> list[str]:
    return [finding.fault for finding in judged.findings]


def test_the_answer_and_its_end_are_what_should_be_learned() -> None:
    judged = row(PROMPT + ANSWER, range(11, 17))
    assert judged == Judged((), 1, 0)


def test_a_line_break_or_a_second_end_behind_the_answer_does_no_harm() -> None:
    assert row([*PROMPT, *ANSWER, "\n"], range(11, 18)).findings == ()
    assert row([*PROMPT, *ANSWER, "<eos>"], range(11, 18)).findings == ()
    late_end = [*PROMPT, *ANSWER[:-1], "\n", END]
    assert row(late_end, [11, 12, 13, 14, 15, 17]).findings == ()


def test_a_row_without_labels_teaches_nothing() -> None:
    assert faults(row(PROMPT + ANSWER, [])) == ["nothing-learned"]
    assert "beyond the context" in row(PROMPT, [], cut=True).findings[0].message


def test_the_whole_conversation_is_named_token_by_token() -> None:
    """All but the answer and its end: places 0 to 10, the white space among them too."""
    judged = row(PROMPT + ANSWER, range(17))
    assert faults(judged) == ["prompt-learned"]
    assert judged.findings[0].tokens == tuple(range(11))
    assert "'<bos>' (0)" in judged.findings[0].message


@pytest.mark.parametrize("place", [0, 3, 5, 7, 8, 9])
def test_any_single_token_of_the_prompt_is_found(place: int) -> None:
    """7 is the end of the user's turn (`train_on_eos: all`), 8 a line break of the template."""
    judged = row(PROMPT + ANSWER, [place, *range(11, 17)])
    assert faults(judged) == ["prompt-learned"]
    assert judged.findings[0].tokens == (place,)


def test_an_answer_that_also_stands_in_the_question_is_not_taken_for_it() -> None:
    texts = ["Yes", " or", " No", "?", END, "model", "No", END]
    judged = row(texts, range(8), ["No"])
    assert faults(judged) == ["prompt-learned"]
    assert judged.findings[0].tokens == (0, 1, 2, 3, 4, 5)


def test_tokens_of_an_image_are_never_learned() -> None:
    judged = row(["<img>", "<img>", *PROMPT, *ANSWER], [0, 1, *range(13, 19)])
    assert faults(judged) == ["image-learned"]
    assert judged.findings[0].tokens == (0, 1)


def test_a_label_that_is_another_token_is_named() -> None:
    texts = PROMPT + ANSWER
    ids = list(range(17))
    labels = [IGNORED] * 11 + [11, 99, 13, 14, 15, 16]
    judged = judge(ids, labels, texts, [(TOLD,)], (END,), cut=False)
    assert [(finding.fault, finding.tokens) for finding in judged.findings] == [("wrong-label", (12,))]


def test_an_answer_without_its_end_would_never_stop() -> None:
    assert faults(row(PROMPT + ANSWER, range(11, 16))) == ["end-missed"]


@pytest.mark.parametrize("learned", [range(12, 17), range(13, 17), range(11, 14)])
def test_half_an_answer_is_not_the_answer(learned: range) -> None:
    assert "answer-missed" in faults(row(PROMPT + ANSWER, learned))


@pytest.mark.parametrize("kept", range(12, 17))
def test_an_answer_that_the_context_cuts_is_told_and_no_fault(kept: int) -> None:
    judged = row((PROMPT + ANSWER)[:kept], range(11, kept), cut=True)
    assert judged.findings == ()
    assert judged.answers_whole + judged.answers_cut == 1
    assert judged.answers_cut == (kept < 16)


def test_the_same_part_of_an_answer_in_a_row_that_was_not_cut_is_a_fault() -> None:
    assert "answer-missed" in faults(row((PROMPT + ANSWER)[:14], range(11, 14)))


def test_several_turns_are_ticked_off_in_order() -> None:
    again = ["user", "Sure", "?", END, "model", "Yes", ".", END]
    texts = PROMPT + ANSWER + again
    both = [*range(11, 17), *range(22, 25)]
    assert row(texts, both, [TOLD, "Yes."]) == Judged((), 2, 0)
    assert faults(row(texts, range(11, 17), [TOLD, "Yes."])) == ["answer-missed"]
    assert faults(row(texts, range(11, 25), [TOLD, "Yes."])) == ["prompt-learned"]
    assert row(texts, range(11, 25), [TOLD, "Yes."]).findings[0].tokens == (17, 18, 19, 20, 21)


def test_white_space_may_be_joined_and_another_spelling_is_known() -> None:
    texts = [*PROMPT, "No", ",", "\n", "\n", "sinus", "  ", "rhythm", ".", END]
    assert row(texts, range(11, 20)).findings == ()
    ids = list(range(13))
    labels = [IGNORED] * 11 + [11, 12]
    spelt = judge(ids, labels, [*PROMPT, "no", END], [("NO", "no")], (END,), cut=False)
    assert spelt.findings == ()


@given(st.sets(st.integers(0, 16)))
def test_only_the_answer_with_its_end_passes(learned: set[int]) -> None:
    """Of all subsets of the tokens, that one alone."""
    assert (row(PROMPT + ANSWER, sorted(learned)).findings == ()) == (learned == set(range(11, 17)))


@given(st.text(min_size=1, max_size=30))
def test_pieces_put_together_are_the_text(text: str) -> None:
    """Bytes as tokens: a letter of several bytes belongs to its last."""
    ids = list(text.encode())

    def decode(some: Sequence[int]) -> str:
        return bytes(some).decode(errors="replace")

    assert "".join(pieces(ids, decode)) == text
