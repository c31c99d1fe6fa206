"""System E through the executor: a teacher, its student, both judged, the report, and what all of it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("h5py", reason="needs the ecg extra")

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CINC2021_ROOT": ""}
PICKLED = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
"""First bytes of a pickle, protocols 2 to 5, and of the archives that torch and NumPy put pickles in."""


def runner(folder: Path, *words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "runner", *map(str, words)],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of a rehearsal on invented recordings: a teacher by fusion, then a student of three leads."""
    folder = tmp_path_factory.mktemp("student")
    spec = ROOT / "specs" / "ecg_student_georgia.yaml"
    said = runner(folder, "launch", spec, "--rehearse", "--quiet", "--set", "distill.leads=3")
    return folder / said.splitlines()[-1]


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(max(map(len, PICKLED)))


def test_a_student_is_shown_beside_its_teacher(student: Path) -> None:
    results = content(student / "report/results.json")
    rows = {row["who"]: row for row in results["methods"]}
    assert [*rows] == ["before training", "teacher", "tuned"]
    assert rows["teacher"]["method"] == "fusion, rank 16, bp_batch 4, coef 0.99 to 0.9"
    assert rows["tuned"]["method"] == "full, distilled"
    for who in ("teacher", "tuned"):
        cost = rows[who]["cost"]
        assert 0 < cost["memory_training_gib"] <= cost["memory_run_gib"]
        assert cost["step_s"] > 0
        assert cost["trainable"] > 0
    teacher, tuned = (content(student / f"eval/{name}.json")["results"][0] for name in ("teacher", "tuned"))
    assert teacher["lock"]["records"] == tuned["lock"]["records"]
    page = (student / "report/report.html").read_text(encoding="utf-8")
    assert "Student before" in page
    assert "token" not in page.partition('id="curves"')[2].partition("</section>")[0]


def test_every_number_of_it_is_made_again(student: Path) -> None:
    said = runner(student, "verify", student)
    assert "eval/teacher.json" in said
    assert "all equal" in said


def test_a_run_is_plain_text_with_all_that_a_result_needs(student: Path) -> None:
    """Acceptance test 35: JSON with spec, seed, versions, split digest, fractions, memory, time; never a pickle."""
    plan, tuned = content(student / "plan.json"), content(student / "eval/tuned.json")["results"][0]
    assert plan["spec"]["train"]["seed"] == 18
    assert {"torch", "numpy"} <= content(student / "environment.json")["packages"].keys()
    assert {"torch", "numpy", "scipy"} == tuned["lock"]["versions"].keys()
    assert len(content(student / "data/split.json")["digest"]) == 64
    shares = (*tuned["headline"][:3], "hamming_loss", "exact_match")
    assert all(0 <= tuned["metrics"][name]["value"] <= 1 for name in shares)
    proof = content(student / "train/proof.json")
    assert proof["memory"]["training"]["allocated_mib"] > 0
    steps = [json.loads(line) for line in (student / "train/metrics.jsonl").read_text().splitlines()]
    assert all(step["records_per_s"] > 0 for step in steps if step["event"] == "step")
    files = [path for path in student.rglob("*") if path.is_file()]
    assert len(files) > 30
    assert [path for path in files if first_bytes(path).startswith(PICKLED)] == []
    assert {path.suffix for path in files} <= {
        ".json", ".jsonl", ".yaml", ".log", ".html", ".md", ".png", ".h5", ".safetensors", ".lock", "",
    }  # fmt: skip


def test_one_table_for_every_method_of_the_sweep(tmp_path: Path) -> None:
    """Two of the arms, as `runner compare` sets them side by side."""
    spec = ROOT / "specs" / "ablations" / "fusion_methods.yaml"
    runs = [
        runner(tmp_path, "launch", spec, "--arm", arm, "--rehearse", "--quiet").splitlines()[-1]
        for arm in ("linear_probe", "zeroth_order")
    ]
    made = json.loads(runner(tmp_path, "compare", *runs, "--json"))
    assert [row["method"] for row in made["methods"]] == ["linear_probe", "zeroth_order, rank 16"]
    assert made["methods"][0]["cost"]["trainable"] < made["methods"][1]["cost"]["trainable"]
    assert 'id="methods"' in (tmp_path / "comparison.html").read_text(encoding="utf-8")
