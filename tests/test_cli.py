"""The command line as a user types it, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "specs" / "quickstart" / "llm.yaml"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def runner(tmp_path: Path) -> Run:
    """Return a function that runs `runner ...` in an empty folder."""

    def run(*words: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "runner", *map(str, words)],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "XDG_CACHE_HOME": str(tmp_path / ".cache"),
                **environ,
            },
            capture_output=True,
            text=True,
        )

    return run


def test_a_good_folder_ends_with_0_and_a_bad_file_with_2(runner: Run, tmp_path: Path) -> None:
    assert runner("validate", ROOT / "specs").returncode == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(SPEC.read_text().replace("learning_rate", "learning_rte"))
    done = runner("validate", bad)
    assert done.returncode == 2
    assert "bad.yaml:25:3: train.learning_rte: unknown key 'learning_rte'" in done.stdout
    assert "nearest: learning_rate" in done.stdout


def test_validate_as_json_is_the_published_form(runner: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(SPEC.read_text().replace("context: 128", "context: '128'"))
    done = runner("validate", "--json", bad)
    value = json.loads(done.stdout)
    assert (done.returncode, value["files"], len(value["problems"])) == (2, 1, 1)
    assert set(value["problems"][0]) == {"file", "line", "column", "path", "code", "message", "hint"}
    assert value["problems"][0]["line"] == 12


HEAVY = ("torch", "transformers", "axolotl", "datasets", "numpy", "deepspeed", "lm_eval")


@pytest.mark.parametrize(
    ("words", "also"),
    [
        (("validate", "--no-cache", str(ROOT / "specs")), ("jsonschema", "rich")),
        (("plan", str(SPEC), "--rehearse"), ()),
        (("convert", str(SPEC), "--out", "out"), ()),
        (("explain", "R003"), ()),
    ],
)
def test_the_core_imports_no_engine(tmp_path: Path, words: tuple[str, ...], also: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom runner.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit as end: assert end.code == 0, end.code\n"
        f"print('IMPORTED', [m for m in {HEAVY + also} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "IMPORTED []", done.stdout + done.stderr


def test_launching_begins_without_what_a_core_install_lacks() -> None:
    code = (
        "import sys, runner.launching, runner.sweeps.launch\n"
        f"print([m for m in {(*HEAVY, 'scipy', 'matplotlib')} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("words", [["compare", "a", "b"], ["verify", "a"]])
def test_a_package_that_a_core_install_lacks_is_named(words: list[str]) -> None:
    code = "import sys\nsys.modules['numpy'] = None\nfrom runner.cli import main\nmain(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert "the package numpy, which is not installed" in done.stderr
    assert "pip install -c constraints.txt '.[eval]' (in the checkout of runner)" in done.stderr
    assert "Traceback" not in done.stderr


def test_convert_writes_what_the_plan_holds(runner: Run, tmp_path: Path) -> None:
    done = runner("convert", SPEC, "--out", tmp_path / "out", "--set", "train.learning_rate=2e-5")
    assert done.returncode == 0, done.stderr
    written = Path(done.stdout.splitlines()[0])
    config: dict[str, Any] = yaml.safe_load(written.read_text())
    assert config["learning_rate"] == 2e-5
    plan = json.loads(runner("plan", SPEC, "--json", "--set", "train.learning_rate=2e-5").stdout)
    assert plan["files"][0]["text"] == written.read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("launch",), 2, "give a spec, or --resume RUN"),
        (("launch", "nowhere.yaml"), 2, "nowhere.yaml"),
        (("launch", str(SPEC.with_suffix(".yml"))), 2, "llm.yaml"),
        (("launch", str(SPEC), "--resume", "x"), 2, "takes no spec"),
        (("launch", "--resume", "nowhere"), 2, "no run directory"),
        (("launch", str(SPEC), "--arm", "a"), 2, "has no sweep"),
        (("launch", str(SPEC), "--set", "train.epochs=0"), 2, "expected a number above 0"),
        (("launch", str(SPEC), "--set", "train.batch.effective=12"), 2, "R003"),
        (
            ("launch", str(SPEC), "--set", "tracking.mlflow={uri: ./ml, experiment: e}"),
            3,
            "pip install -c constraints.txt mlflow",
        ),
        (("launch", str(SPEC), "--set", "model.base=${env:NB:-/nope}"), 2, "model.base: nothing at /nope"),
        (("launch", str(SPEC), "--set", "compute.device=cuda"), 3, "this machine lacks something"),
        (("launch", str(SPEC), "--runs", "/proc/nowhere"), 3, "cannot make the run directory /proc/nowhere"),
        (("launch", str(ROOT / "specs" / "distilgpt2_medquad.yaml")), 2, "data.root: nothing at"),
        (("plan", str(SPEC), "--sets", "x"), 2, "No such option"),
        (("validate", "nowhere"), 2, "nowhere"),
        (("explain", "R0o3"), 2, "R003"),
        (("schema", "--kind", "lm"), 2, "nearest: llm"),
    ],
)
def test_a_mistake_is_said_with_its_code_and_nothing_is_started(
    runner: Run, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = runner(*words, CUDA_VISIBLE_DEVICES="", MEDQUAD_ROOT="")
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_folder_that_the_engine_cannot_load_is_refused(runner: Run, tmp_path: Path) -> None:
    for name in ("encoder.json", "vocab.bpe"):
        (tmp_path / "gpt2" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "gpt2" / name).write_text("{}")
    words = ("--set", "model.base=gpt2", "--set", "model.tokenizer=./gpt2")
    done = runner("launch", SPEC, *words)
    assert done.returncode == 2
    assert "rename encoder.json to vocab.json" in done.stderr


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    code = "import runner.cli, runner.plan\ndef bug(*a, **k): raise KeyError('bug')\nrunner.plan.make_plan = bug\nrunner.cli.main()"
    done = subprocess.run([sys.executable, "-c", code, "plan", str(SPEC)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_sweep_arms_are_checked_listed_and_planned(runner: Run, tmp_path: Path) -> None:
    spec = tmp_path / "sweep.yaml"
    spec.write_text(SPEC.read_text() + "sweep:\n  axes: {train.learning_rate: [1e-3, 2e-3]}\n")
    listed = " ".join(runner("plan", spec).stdout.split())
    assert "learning_rate=0.002 train.learning_rate 0.002" in listed
    assert "data 1 time for 2 arms" in listed
    done = runner("plan", spec, "--arm", "learning_rate=0.002", "--json")
    assert json.loads(done.stdout)["spec"]["train"]["learning_rate"] == 0.002
    refused = runner("launch", spec, "--set", "model.base=./gone", "--set", "model.tokenizer=./gone")
    assert refused.returncode == 2
    assert "model.base: nothing at" in refused.stderr
    assert not (tmp_path / "runs").exists()
    spec.write_text(SPEC.read_text() + "sweep:\n  axes: {train.learning_rte: [1e-3]}\n")
    wrong = runner("validate", spec)
    assert wrong.returncode == 2
    assert "arm 'learning_rte=0.001': train.learning_rte: unknown key" in wrong.stdout


@pytest.mark.parametrize("change", [{"format": 99}, {"unknown": 1}])
def test_a_plan_of_another_release_is_refused(runner: Run, tmp_path: Path, change: dict[str, Any]) -> None:
    plan = json.loads(runner("plan", SPEC, "--json").stdout)
    del plan["arms"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text(json.dumps({**plan, **change}))
    done = runner("launch", "--resume", tmp_path / "run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "plan.json" in done.stderr


def test_a_disk_that_is_full_at_the_start_leaves_no_run(tmp_path: Path) -> None:
    """No file may grow beyond 2 kB: the plan does not fit, and the run directory is taken away again."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "from runner.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, "launch", str(SPEC)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 3
    assert "plan.json: File too large" in done.stderr
    assert list(tmp_path.glob("runs/*/*")) == []


def test_a_data_root_without_xml_is_refused_before_anything_starts(runner: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = runner("launch", ROOT / "specs" / "distilgpt2_medquad.yaml", "--set", "data.root=empty")
    assert done.returncode == 2
    assert "holds an XML file" in done.stderr
    assert not (tmp_path / "runs").exists()
