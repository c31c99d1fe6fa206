from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.judge.cache import ReplyCache, request_key
from eval.judge.rubrics import RUBRICS, BadReplyError, rubric

PULSE, PAPER = rubric("pulse_report_10"), rubric("ecg_report_100")
GOOD = {"Diagnosis": 8, "Waveform": 7.5, "Rhythm": 9}


def test_the_aspects_are_named_as_published() -> None:
    assert [a.name for a in PULSE.aspects] == ["Diagnosis", "Waveform", "Rhythm"]
    assert (PULSE.lowest, PULSE.highest, PULSE.overall) == (0, 10, None)
    assert [a.name for a in PAPER.aspects] == [
        "Medical Accuracy",
        "Consistency with ECG Image",
        "Completeness of ECG Details",
        "Clinical Utility and Relevance",
    ]
    assert (PAPER.lowest, PAPER.highest) == (0, 100)


def test_the_scores_are_made_as_published() -> None:
    """PULSE: mean of 8, 7.5, 9 times 10 is 81.67. The other: the judge's one number, not the mean of 10 to 40."""
    assert PULSE.score(PULSE.read(json.dumps(GOOD))) == pytest.approx(81.6667, abs=1e-4)
    grades = {a.name: 10.0 * n for n, a in enumerate(PAPER.graded, start=1)}
    assert PAPER.score(PAPER.read(json.dumps(grades))) == 50.0


@pytest.mark.parametrize("name", RUBRICS)
def test_the_prompt_says_all_it_must(name: str) -> None:
    asked = rubric(name)
    assert asked.name == name
    assert "no image" in asked.prompt
    for aspect in asked.graded:
        assert f"- {aspect.name}: {aspect.asks}" in asked.prompt
        assert f'"{aspect.name}": <number>' in asked.prompt
    assert f"from {asked.lowest:g} " in asked.prompt
    assert f"to {asked.highest:g} " in asked.prompt
    assert asked.source
    assert asked.differs


def test_the_prompts_hash_is_that_of_the_committed_text() -> None:
    """A changed word is another prompt: raise `version`, and say in the changelog that scores do not compare."""
    assert {name: (rubric(name).version, rubric(name).prompt_sha256[:12]) for name in RUBRICS} == HASHES


HASHES: dict[str, tuple[int, str]] = {
    "ecg_report_100": (1, "42cfbe6c595d"),
    "pulse_report_10": (1, "414a1b96d804"),
    "pulse_arena_10": (1, "3f1fcca39b35"),
}


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("", "no JSON"),
        ("8", "8 is not of type 'object'"),
        ("[8, 7, 9]", "not of type 'object'"),
        ('{"Diagnosis": 8, "Waveform": 7}', "'Rhythm' is a required property"),
        ('{"diagnosis": 8, "Waveform": 7, "Rhythm": 9}', "'Diagnosis'"),
        ('{"Diagnosis": 8, "Waveform": 7, "Rhythm": 9, "Score": 8}', "'Score' was unexpected"),
        ('{"Diagnosis": 8, "Waveform": 7, "Rhythm": null}', "Rhythm: None is not of type 'number'"),
        ('{"Diagnosis": 8, "Waveform": 7, "Rhythm": true}', "Rhythm: True is not of type 'number'"),
        ('{"Diagnosis": 8, "Waveform": 7, "Rhythm": NaN}', "NaN is no number"),
        ('{"Diagnosis": 8, "Waveform": 7, "Rhythm": 1e999}', "greater than the maximum of 10"),
        ('{"Diagnosis": 8, "Waveform": 7, "Rhythm": -0.1}', "less than the minimum of 0"),
        ('{"Diagnosis": 8, "Waveform": 7, "Rhythm": 9, "Rhythm": 2}', "a key stands twice"),
        ('Here: {"Diagnosis": 8, "Waveform": 7, "Rhythm": 9}', "no JSON"),
        ('{"Diagnosis": 8, "Waveform": 7, "Rhythm": 9} and so on', "no JSON"),
        ("[" * 10_000, "no JSON"),
        (" " * 20_001, "20001 characters"),
    ],
)
def test_an_answer_that_is_not_whole_is_a_bad_one(reply: str, says: str) -> None:
    with pytest.raises(BadReplyError, match=says):
        PULSE.read(reply)


@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "\n```\n{}\n```\n", "  {}  "])
def test_a_fence_is_no_fault(around: str) -> None:
    text = around.replace("{}", json.dumps(GOOD))
    assert PULSE.read(text) == {"diagnosis": 8, "waveform": 7.5, "rhythm": 9}


@given(st.text(), st.text())
def test_no_text_can_leave_its_place_in_the_question(reference: str, answer: str) -> None:
    system, user = PULSE.messages(reference, answer)
    assert system["content"] == PULSE.prompt
    assert json.loads(user["content"]) == {"reference": reference, "candidate": answer}


@given(st.text(max_size=200))
def test_any_reply_is_read_or_refused(text: str) -> None:
    try:
        grades = PULSE.read(text)
    except BadReplyError:
        return
    assert grades.keys() == {"diagnosis", "waveform", "rhythm"}


def test_an_unknown_rubric_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="no rubric 'pulse'; allowed: ecg_report_100, pulse_report_10"):
        rubric("pulse")


# --------------------------------------------------------------------------------------------- cache


def test_an_answer_is_found_by_all_that_was_sent(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "cache")
    sent = {"model": "m", "temperature": 0.0, "rubric": "r", "messages": ["a"]}
    key = request_key(**sent)
    assert cache.fetch(key) is None
    cache.store(key, "the reply é", "m-1")
    cache.store(key, "the reply é", "m-1")
    assert cache.fetch(key) == {"key": key, "reply": "the reply é", "model": "m-1"}
    others = [
        {**sent, name: value}
        for name, value in [("model", "n"), ("temperature", 0.1), ("rubric", "s"), ("messages", ["b"])]
    ]
    assert len({key, *(request_key(**other) for other in others)}) == 5
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [f"{key}.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "other", "reply": "x"}', '{"reply": 3}', "\udcff"])
def test_a_damaged_entry_is_none(tmp_path: Path, text: str) -> None:
    cache, key = ReplyCache(tmp_path), request_key(a=1)
    cache.store(key, "good", None)
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert cache.fetch(key) is None
    cache.store(key, "good", None)
    assert cache.fetch(key) is not None


def test_nothing_half_is_left_of_an_answer_that_cannot_be_stored(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    key = request_key(a=1)
    place = tmp_path / key[:2] / f"{key}.json"
    place.mkdir(parents=True)
    with pytest.raises(OSError, match=r"."):
        cache.store(key, "x", None)
    assert list(place.parent.iterdir()) == [place]
