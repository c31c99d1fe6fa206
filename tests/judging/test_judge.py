"""The tasks `judge` and `entities` as the stage runs them, with a judge on this machine that can misbehave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from misbehaving import reply, respond, serving

from eval.judge.rubrics import rubric
from eval.judges import judge as judge_of
from eval.lock import LOCK
from runner.events import read_events
from runner.judging import judge as module
from runner.judging.stand_in import grades
from runner.machine import Machine
from runner.plan import make_plan
from runner.rehearse import rehearsed
from runner.spec.kinds import broken_rules
from runner.spec.problems import DataError, MachineError
from runner.spec.tasks import EntitiesTask, JudgeTask

torch = pytest.importorskip("torch", reason="needs the train extra")

pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:(torch|transformers|peft|accelerate|huggingface_hub)"
)

Make = Callable[..., Any]
GOOD = reply({"Diagnosis": 6, "Waveform": 3, "Rhythm": 0})
NAME = "pulse_report_10"
KEY = "not-a-real-key-4711"


def task(endpoint: str = "rehearsal", **changes: Any) -> dict[str, Any]:
    given = {"rubric": NAME, "model": "m", "max_new_tokens": 6, "retries": 0, "concurrency": 2, **changes}
    return JudgeTask(task="judge", endpoint=endpoint, **given).model_dump(mode="json")


def test_lines_result_and_the_same_numbers_again(make_model: Make, judge: Make, lines: Make) -> None:
    make_model()
    with serving(GOOD) as server:
        result = judge(task(server.url))
    stored = lines()
    assert [line["id"] for line in stored] == [f"r{number}" for number in range(19)]
    assert {line["outcome"] for line in stored} == {"judged"}
    assert result["metrics"][NAME] == {"value": 30.0, "low": None, "high": None}
    assert (result["n_judged"], result["n_bad"], result["n_records"]) == (19, 0, 19)
    assert result["judge"]["models_reported"] == ["judge-2026"]
    assert result["judge"]["prompt_sha256"] == rubric(NAME).prompt_sha256
    again = judge_of("judge").judged(task(server.url), stored)
    assert {key: result[key] for key in again} == json.loads(json.dumps(again))


def test_only_the_answer_and_its_reference_are_sent(make_model: Make, judge: Make, lines: Make) -> None:
    make_model()
    with serving(GOOD) as server:
        judge(task(server.url))
    sent = {request["messages"][1]["content"] for request in server.requests}
    texts = [{"reference": line["reference"], "candidate": line["answer"]} for line in lines()]
    assert sent == {json.dumps(text, ensure_ascii=False) for text in texts}
    assert "symptoms of disease" not in "".join(sent)  # the question stays here


def test_bad_answers_are_counted(make_model: Make, judge: Make, lines: Make) -> None:
    """Three of 19 are bad: one not whole, one refused, one that the endpoint failed."""
    make_model()
    bad = [reply({"Diagnosis": 6, "Waveform": 3}), reply(None, refusal="no"), respond(502, "<html>")]
    with serving(*bad, GOOD) as server:
        result = judge(task(server.url, concurrency=1))
    assert (result["n_judged"], result["n_bad"]) == (16, 3)
    assert result["notes"][0] == (
        "16 of 19 records were judged; bad answers: invalid 1, refused 1, server_error 1."
    )
    assert result["metrics"][NAME]["value"] == pytest.approx(30)
    assert result["metrics"][f"{NAME}_bad_as_lowest"]["value"] == pytest.approx(30 * 16 / 19)
    assert {line["outcome"]: line["error"] for line in lines()}["server_error"] == "HTTP 502: <html>"


def test_five_failures_in_a_row_end_it_and_a_continued_run_asks_only_the_rest(
    make_model: Make, judge: Make, lines: Make
) -> None:
    make_model()
    with serving(GOOD, GOOD, respond(500, "")) as server:
        told = task(server.url, concurrency=1)
        with pytest.raises(
            MachineError, match=r"failed 5 records in a row, the last with server_error .*\n.*--resume"
        ):
            judge(told)
        asked = len(server.requests)
        server.acts[:] = [GOOD]
        result = judge(told)
        assert len(server.requests) == asked + 17
    assert (result["n_judged"], result["n_bad"]) == (19, 0)
    assert len({line["id"] for line in lines()}) == 19


def test_a_key_refused_on_the_way_ends_it_and_what_was_judged_stays(make_model: Make, judge: Make) -> None:
    make_model()
    with serving(GOOD, GOOD, GOOD, respond(401, "")) as server:
        told = task(server.url, concurrency=1)
        with pytest.raises(MachineError, match="the judge cannot be asked any longer"):
            judge(told)
        server.acts[:] = [GOOD]
        before = len(server.requests)
        assert judge(told)["n_judged"] == 19
        assert len(server.requests) == before + 16


def test_the_same_question_is_not_asked_twice(
    make_model: Make, judge: Make, lines: Make, tmp_path: Path
) -> None:
    """The same texts, model, temperature and endpoint: not one request."""
    make_model()
    with serving(GOOD) as server:
        told = task(server.url, cache=str(tmp_path / "shared"))
        one = judge(told)
        asked = len(server.requests)
        two = judge(told)
        assert len(server.requests) == asked
        assert all(line["cached"] for line in lines())
        assert {**one, "examples": 0} == {**two, "examples": 0}
        judge({**told, "judge_temperature": 0.5})
        assert len(server.requests) == 2 * asked
    with serving(GOOD) as other:  # the same name of a model, elsewhere
        judge({**told, "endpoint": other.url})
        assert len(other.requests) == asked


def test_a_killed_stage_goes_on_where_it_ended(make_model: Make, run_dir: Path, judge: Make) -> None:
    """SIGKILL while the judge is silent on the fourth question: three answers stand, sixteen are asked."""
    make_model()

    def silent(handler: Any) -> None:
        server.release.wait(60)
        handler.close_connection = True

    with serving(GOOD, GOOD, GOOD, silent) as server:
        told = task(server.url, concurrency=1)
        (run_dir / "config").mkdir()
        settings = {**_settings(), "tasks": [told]}
        (run_dir / "config" / "evaluate.json").write_text(json.dumps(settings))
        with subprocess.Popen(
            [sys.executable, "-m", "runner.stages.evaluate"],
            cwd=run_dir,
            env={**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])},
            stderr=subprocess.DEVNULL,
        ) as process:
            _until(lambda: len(server.requests) == 4 or process.poll() is not None)
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        server.release.set()
        server.acts[:] = [GOOD]
        result = judge(told)
        assert len(server.requests) == 4 + 16
    assert result["n_judged"] == 19


def _settings() -> dict[str, Any]:
    return {
        "model": "model",
        "revision": None,
        "adapter": None,
        "tokenizer": None,
        "template": "question_answer",
        "context": 64,
        "end_tokens": [],
        "device": "cpu",
        "precision": "fp32",
        "attention": "sdpa",
        "out": "eval/tuned.json",
        "trust_remote_code": False,
        "images": False,
        "trained_on": None,
    }


def _until(done: Callable[[], bool]) -> None:
    """Wait for a state that another process brings about; the test's own time limit ends it."""
    while not done():
        time.sleep(0.01)


# ----------------------------------------------------------------------------- before anything is sent


def test_no_text_leaves_without_leave(make_model: Make, judge: Make, run_dir: Path) -> None:
    make_model()
    told = task("https://judge.example.org/v1")
    with pytest.raises(DataError, match="the spec does not allow it\n  set allow_text_to_leave"):
        judge(told)
    assert not list(run_dir.glob("eval/**/*.jsonl"))


def test_a_missing_key_is_named_and_nothing_is_written_first(
    make_model: Make, judge: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model()
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    monkeypatch.setattr(module, "answers", lambda *_: pytest.fail("answers were written"))
    with serving(GOOD) as server:
        with pytest.raises(MachineError, match="environment variable JUDGE_KEY is not set"):
            judge(task(server.url, key_variable="JUDGE_KEY"))
        server.models_status = 401
        monkeypatch.setenv("JUDGE_KEY", KEY)
        with pytest.raises(MachineError, match=r"the key was refused\n  check .*JUDGE_KEY") as caught:
            judge(task(server.url, key_variable="JUDGE_KEY"))
        assert KEY not in str(caught.value)
        url = server.url
    with pytest.raises(MachineError, match=r"nothing answers at http://127\.0\.0\.1"):
        judge(task(url))


def test_the_key_is_in_no_file(
    make_model: Make, judge: Make, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model()
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with serving(respond(400, f"bad key {KEY}"), GOOD) as server:
        judge(task(server.url, key_variable="JUDGE_KEY"))
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_leaving_text_is_told(run_dir: Path, judging: Make) -> None:
    run = judging()
    module._tell(run, task("https://judge.example.org/v1", allow_text_to_leave=True), "19 test records")
    module._tell(run, task("http://127.0.0.1:9/v1"), "19 test records")
    module._tell(run, task(), "19 test records")
    notes = [event["text"] for event in read_events(run_dir / "events.jsonl")]
    assert notes == [
        "text leaves this machine: answers and references of 19 test records are sent to https://judge.example.org/v1"
    ]


# ----------------------------------------------------------------------------- stand-in and findings


@pytest.mark.parametrize("name", ["pulse_report_10", "ecg_report_100"])
def test_a_rehearsal_is_judged_by_the_stand_in_and_says_so(make_model: Make, judge: Make, name: str) -> None:
    make_model()
    result = judge(task(rubric=name))
    assert (result["n_judged"], result["n_bad"]) == (19, 0)
    assert any("stand-in" in note for note in result["notes"])
    assert result["metrics"][name]["value"] is not None


def test_the_stand_in_grades_by_shared_findings() -> None:
    """1 of 2 and 2 findings shared: F1 0.5, the middle of each scale."""
    asked = rubric("ecg_report_100")
    request = {
        "messages": asked.messages("sinus rhythm, no ST elevation", "sinus rhythm, ST elevation"),
        "response_format": {"json_schema": {"schema": asked.schema}},
    }
    assert grades(request) == {aspect.name: 50.0 for aspect in asked.graded}


def test_findings_of_written_answers(make_model: Make, judge: Make, lines: Make) -> None:
    make_model()
    told = EntitiesTask(task="entities", max_new_tokens=6).model_dump(mode="json")
    result = judge(told)
    assert result["n_records"] == 19
    assert result["tables"]["entities"]["rows"][0][:3] == ["fever", "affirmed", 19]
    again = judge_of("entities").judged(told, lines())
    assert {key: result[key] for key in again} == json.loads(json.dumps(again))


# ------------------------------------------------------------------------------------ spec and plan

AWAY = {
    "task": "judge",
    "rubric": NAME,
    "endpoint": "https://judge.example.org/v1",
    "model": "m",
    "allow_text_to_leave": True,
    "key_variable": "JUDGE_KEY",
    "cache": "/somewhere",
    "reply_format": "text",
}


def test_a_rehearsal_sends_nothing_anywhere(make_spec: Make) -> None:
    (small,) = rehearsed(make_spec({"evaluate": (AWAY,)})).evaluate
    assert isinstance(small, JudgeTask)
    assert small.endpoint == "rehearsal"
    assert (small.key_variable, small.cache, small.allow_text_to_leave) == (None, None, False)
    assert small.max_new_tokens <= 24
    assert list(broken_rules(rehearsed(make_spec({"evaluate": (AWAY,)})))) == []


def test_the_plan_says_that_text_leaves(make_spec: Make) -> None:
    here = {**AWAY, "endpoint": "http://[::1]:8000/v1"}
    machine = Machine("Linux", 2, 8.0, 0, None, None, False, False)
    said = make_plan(make_spec({"evaluate": (AWAY,)}), machine).notes
    assert any(note.startswith("text leaves this machine: ") and AWAY["endpoint"] in note for note in said)
    assert not any("leaves" in note for note in make_plan(make_spec({"evaluate": (here,)}), machine).notes)


def test_the_lock_holds_the_prompt_and_the_vocabulary(make_model: Make, judge: Make) -> None:
    make_model()
    told = judge(task())["lock"]
    assert told["rubric"] == {"name": NAME, "version": 1, "sha256": rubric(NAME).prompt_sha256}
    assert len(told["vocabulary"]) == 64
    assert {"rubric", "vocabulary"} <= LOCK.keys()
