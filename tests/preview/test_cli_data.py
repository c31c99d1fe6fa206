"""`runner data` as a user types it, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
QUICKSTART = ROOT / "specs" / "quickstart"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def runner(tmp_path: Path) -> Run:
    """Return a function that runs `runner ...` in an empty folder."""

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "runner", *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    return run


def test_the_data_stage_runs_alone_in_a_run_of_its_own(runner: Run, tmp_path: Path) -> None:
    done = runner("data", QUICKSTART / "llm.yaml")
    assert done.returncode == 0, done.stderr
    assert "600 records read, 600 fit for use" in done.stdout
    assert "train       400" in done.stdout
    assert "\u2713 No question stands on two sides; split by question" in done.stdout
    run = tmp_path / done.stdout.splitlines()[-1]
    assert sorted(json.loads((run / "status.json").read_text())["stages"]) == ["data"]
    assert json.loads((run / "plan.json").read_text())["counts"]["train"] == 400
    assert runner("status", run).stdout.startswith("done")
    again = runner("launch", "--resume", run)
    assert again.returncode == 0, again.stderr
    assert "[data] not run again" in again.stderr
    assert not (run / "train").exists()


def test_as_json_it_is_one_value(runner: Run) -> None:
    done = runner("data", QUICKSTART / "llm.yaml", "--json", "--quiet", "--set", "data.records=520")
    value = json.loads(done.stdout)
    assert (value["state"], value["exit_code"], value["preview"]) == ("done", 0, None)
    assert value["manifest"]["splits"]["train"]["records"] == 400
    assert "results" not in value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ecg.yaml", "--preview", "2"), "a spec of kind ecg has signals"),
        (("llm.yaml", "--preview", "0"), "expected 1 to 50 records, got 0"),
        (("llm.yaml", "--set", 'sweep={"seeds": [1, 2]}'), "is a sweep"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    runner: Run, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = runner("data", QUICKSTART / words[0], *words[1:])
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.axolotl
def test_a_record_that_teaches_nothing_fails_and_is_shown(runner: Run, tmp_path: Path) -> None:
    pytest.importorskip("axolotl", reason="needs the extra `train`")
    questions = [f"Is number {number} even?" for number in range(30)]
    questions[7] = "Is it so? " * 200
    lines = [
        json.dumps(
            {
                "id": f"q{number}",
                "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "Yes."}],
            }
        )
        for number, question in enumerate(questions)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    spec = yaml.safe_load((QUICKSTART / "llm.yaml").read_text(encoding="utf-8"))
    spec["data"] = {
        "source": "messages",
        "path": "./rows.jsonl",
        "template": "question_answer",
        "split": {"train": 1.0, "validation": 0, "test": 0, "by": "record"},
    }
    spec["evaluate"] = []
    del spec["train"]["evaluate_every"]
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    done = runner("data", "spec.yaml", "--preview", "2", "--rehearse")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "record q7: no token carries loss: its answer lies wholly beyond the context" in done.stderr
    assert "error: no token carries loss" in done.stdout
    run = tmp_path / done.stdout.splitlines()[-1]
    assert "Nothing is learned from this record." in (run / "preview" / "preview.html").read_text(
        encoding="utf-8"
    )
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
