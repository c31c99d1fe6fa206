from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.parse import UNPARSED, LabelParser

YES_NO = LabelParser({"yes": ["yes", "cardiovascular disease"], "no": ["no", "no cardiovascular disease"]})
LEADS = LabelParser({"ST": ["ST"], "STTC": ["STTC", "ST-T change"], "MI": ["MI"], "no MI": ["no MI"]})


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("yes", "yes"),
        ("Yes.", "yes"),
        ("**NO**", "no"),
        ("_No_", "no"),
        ("- no -", "no"),
        ("Answer:no\n", "no"),
        ("yes, yes, YES!", "yes"),
        ("The patient has Cardiovascular  Disease", "yes"),
        ("No cardiovascular\ndisease", "no"),
        ("", UNPARSED),
        ("I cannot tell", UNPARSED),
        ("yes or no", UNPARSED),
        ("No. There is cardiovascular disease", UNPARSED),
        ("nope", UNPARSED),
        ("piano", UNPARSED),
        ("yes2", UNPARSED),
        ("no-one knows", UNPARSED),
        ("a casino, no", "no"),
        ("oui-no", UNPARSED),
    ],
)
def test_answers_read_by_eye(answer: str, label: str) -> None:
    assert YES_NO.label(answer) == label


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        ("STTC and MI", ("STTC", "MI")),
        ("MI, then ST, then MI again", ("MI", "ST")),
        ("ST-T change", ("STTC",)),
        ("ST-elevation", ()),
        ("STEMI", ()),
        ("there is no MI", ("no MI",)),
        ("unno MI", ("MI",)),
        ("nothing", ()),
    ],
)
def test_several_labels_are_found_in_their_order(answer: str, labels: tuple[str, ...]) -> None:
    assert LEADS.found(answer) == labels


@given(st.text(max_size=40))
def test_every_text_has_an_outcome(answer: str) -> None:
    assert YES_NO.label(answer) in {"yes", "no", UNPARSED}


@given(
    st.lists(st.sampled_from(["yes", "no", "maybe", "notes", "eyes", "YES", "No"]), max_size=8),
    st.sampled_from([" ", ", ", ".\n"]),
)
def test_whole_words_decide(words: list[str], between: str) -> None:
    said = {word.lower() for word in words} & {"yes", "no"}
    assert YES_NO.label(between.join(words)) == (said.pop() if len(said) == 1 else UNPARSED)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "expected labels"),
        ({"unparsed": ["x"]}, "none of them called 'unparsed'"),
        ({"yes": []}, r"label 'yes': expected a list of words, got \[\]"),
        ({"yes": "yes"}, "label 'yes': expected a list of words, got 'yes'"),
        ({"yes": ["?"]}, r"label 'yes': the word '\?' has no letter or digit"),
        ({"yes": ["Sick"], "no": ["sick"]}, "the word 'sick' stands for 'yes' and for 'no'"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(labels: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelParser(labels)
