from __future__ import annotations

import json
from typing import Any

import pytest

from eval.judge.outcomes import MEANING, OF_THE_ENDPOINT
from eval.judge.rubrics import RUBRICS
from eval.judges import by_rubric as judge

TASK = {
    "task": "judge",
    "split": "test",
    "endpoint": "http://127.0.0.1:8000/v1",
    "model": "m",
    "rubric": "pulse_report_10",
    "judge_temperature": 0.0,
}
NAME = "pulse_report_10"


def line(number: int, grades: tuple[float, float, float] | str, **more: Any) -> dict[str, Any]:
    """Return a line: graded, or with the outcome that a text names."""
    bad = isinstance(grades, str)
    reply = None if bad else json.dumps(dict(zip(("Diagnosis", "Waveform", "Rhythm"), grades, strict=True)))
    return {
        "id": f"r{number}",
        "group": f"g{number}",
        "prompt": "Report.",
        "answer": "sinus rhythm",
        "reference": "sinus rhythm, no ST elevation",
        "outcome": grades if bad else "judged",
        "reply": reply,
        "judge_model": None if bad else "m-2026",
        **more,
    }


def test_numbers_worked_out_by_hand() -> None:
    """Scores 80, 60 and one bad answer: mean 70 over 2 of 3; with the bad one as 0 it is 46.67."""
    result = judge.judged(TASK, [line(1, (9, 8, 7)), line(2, (6, 6, 6)), line(3, "invalid")])
    metrics = result["metrics"]
    assert metrics[NAME]["value"] == pytest.approx(70)
    assert metrics[f"{NAME}_diagnosis"]["value"] == pytest.approx(7.5)
    assert metrics[f"{NAME}_judged"]["value"] == pytest.approx(2 / 3)
    assert metrics[f"{NAME}_bad_as_lowest"]["value"] == pytest.approx(140 / 3)
    assert metrics[NAME]["low"] == 60
    assert metrics[NAME]["high"] == 80
    assert (result["n_records"], result["n_judged"], result["n_bad"]) == (3, 2, 1)
    assert result["notes"][0] == "2 of 3 records were judged; bad answers: invalid 1."
    assert metrics["entity_f1"]["value"] == pytest.approx(2 / 3)


def test_every_outcome_is_counted_and_none_is_averaged() -> None:
    bad = [word for word in MEANING if word != "judged"]
    result = judge.judged(TASK, [line(0, (5, 5, 5)), *(line(n, word) for n, word in enumerate(bad, start=1))])
    assert {row[0]: row[1] for row in result["tables"]["outcomes"]["rows"]} == dict.fromkeys(MEANING, 1)
    assert result["metrics"][NAME]["value"] == 50
    assert all(f"{word} 1" in result["notes"][0] for word in bad)
    assert set(bad) > OF_THE_ENDPOINT


def test_without_a_judged_record_there_is_no_score_and_the_result_says_so() -> None:
    result = judge.judged(TASK, [line(1, "timeout"), line(2, "refused")])
    assert result["metrics"][NAME] == {"value": None, "low": None, "high": None}
    assert result["metrics"][f"{NAME}_judged"]["value"] == 0
    assert f"{NAME} does not exist: no record was judged." in result["notes"]
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"reply": '{"Diagnosis": 9, "Waveform": 9}'},
            "record 'r1' is stored as judged, but its reply is bad",
        ),
        ({"outcome": "fine"}, "record 'r1': unknown outcome 'fine'"),
    ],
)
def test_a_line_that_contradicts_itself_is_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        judge.judged(TASK, [line(1, (9, 9, 9), **changed)])


def test_the_result_says_who_was_asked_and_how() -> None:
    asked = judge.judged(TASK, [line(1, (9, 9, 9))])["judge"]
    assert asked["model"] == "m"
    assert asked["models_reported"] == ["m-2026"]
    assert asked["temperature"] == 0.0
    assert len(asked["prompt_sha256"]) == 64
    assert "no image" in asked["sees"]


def test_two_rubrics_share_no_metric_but_the_findings() -> None:
    names = []
    for rubric in RUBRICS:
        result = judge.judged({**TASK, "rubric": rubric}, [line(1, "invalid")])
        names.append({name for name in result["metrics"] if not name.startswith("entity_")})
        assert result["headline"][0] == rubric
        assert result["name"] == f"judge_{rubric}"
    assert not names[0] & names[1]


def test_differences_are_over_the_records_judged_on_both_sides() -> None:
    """Both sides: records 1 and 2, which gain 20 each. Record 3 was lost before, record 4 after."""
    before = [line(1, (3, 3, 3)), line(2, (5, 5, 5)), line(3, "timeout"), line(4, (9, 9, 9))]
    after = [line(1, (5, 5, 5)), line(2, (7, 7, 7)), line(3, (1, 1, 1)), line(4, "refused")]
    change = judge.differences(TASK, before, after)
    assert change[NAME] == {"value": pytest.approx(20), "low": None, "high": None}  # whatever is drawn
    assert change[f"{NAME}_rhythm"]["value"] == pytest.approx(2)
    assert change[f"{NAME}_judged"]["value"] == 0
    assert change[f"{NAME}_bad_as_lowest"]["value"] == pytest.approx((20 + 20 + 10 - 90) / 4)
    assert change["entity_f1"]["value"] == 0
    assert change.keys() == judge.judged(TASK, after)["metrics"].keys()


def test_without_a_pair_there_is_no_difference() -> None:
    change = judge.differences(TASK, [line(1, "timeout")], [line(1, (5, 5, 5))])
    assert change[NAME] == {"value": None, "low": None, "high": None}
