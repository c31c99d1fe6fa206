"""What an ECG spec names and is not there is said before a run; a rehearsal needs less."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.missing import NEEDED, missing_files, missing_packages
from runner.places import place_keys
from runner.spec.kinds import KINDS
from runner.spec.load import Loaded
from runner.validate import load_spec
from tests.support.specs import FOLDER

GEORGIA = FOLDER / "ecg_fusion_georgia.yaml"
STUDENT = FOLDER / "ecg_student_georgia.yaml"


def said(loaded: Loaded, *, rehearse: bool, environ: dict[str, str] | None = None) -> list[tuple[str, str]]:
    found = missing_files(loaded, environ or {}, rehearse=rehearse)
    return [(problem.path, problem.message) for problem in found]


def test_a_set_that_is_not_given_is_needed_by_a_real_run_alone() -> None:
    loaded = load_spec(GEORGIA, (), {})
    ((path, message),) = said(loaded, rehearse=False)
    assert (path, message.partition(";")[0]) == ("data.root", "no folder is given")
    assert said(loaded, rehearse=True) == []
    (problem,) = missing_files(loaded, {}, rehearse=False)
    assert "CINC2021_ROOT" in problem.hint


@pytest.mark.parametrize("rehearse", [False, True])
def test_a_set_that_is_given_must_be_there(tmp_path: Path, rehearse: bool) -> None:
    """A slip in a folder's name must not end in invented recordings."""
    there = load_spec(GEORGIA, (f"data.root={tmp_path}",), {})
    assert said(there, rehearse=rehearse) == []
    gone = load_spec(GEORGIA, (f"data.root={tmp_path / 'gone'}",), {})
    assert said(gone, rehearse=rehearse) == [("data.root", f"nothing at {tmp_path / 'gone'}")]


def test_weights_must_be_there_for_a_real_run_alone(tmp_path: Path) -> None:
    loaded = load_spec(STUDENT, (f"data.root={tmp_path}",), {})
    environ = {"ECG_CHECKPOINT": "/gone/teacher.safetensors", "ECG_STUDENT_CHECKPOINT": "/gone/student.pkl"}
    assert [path for path, _ in said(loaded, rehearse=False, environ=environ)] == [
        "model.checkpoint",
        "distill.train_teacher.model.checkpoint",
    ]
    assert said(loaded, rehearse=True, environ=environ) == []
    assert said(loaded, rehearse=False) == []  # empty: random weights


def test_a_teacher_of_an_earlier_run_must_be_there(tmp_path: Path) -> None:
    sets = (f"data.root={tmp_path}", "distill.train_teacher=null", "distill.teacher=./gone")
    loaded = load_spec(STUDENT, sets, {})
    assert [path for path, _ in said(loaded, rehearse=False)] == ["distill.teacher"]


def test_every_kind_says_what_it_needs() -> None:
    assert NEEDED.keys() == KINDS.keys()


def test_an_ecg_run_does_not_ask_for_axolotl(monkeypatch: pytest.MonkeyPatch) -> None:
    from runner import missing

    real = missing.find_spec
    monkeypatch.setattr(missing, "find_spec", lambda name: None if name == "axolotl" else real(name))
    assert missing_packages(load_spec(GEORGIA, (), {}).spec) == []
    monkeypatch.setattr(missing, "find_spec", lambda name: None if name == "h5py" else real(name))
    assert missing_packages(load_spec(GEORGIA, (), {}).spec) == [
        "packages of the extra 'ecg': pip install -c constraints.txt '.[ecg]' (in the checkout of runner)"
    ]


@pytest.mark.parametrize("rehearse", [False, True])
@pytest.mark.parametrize("name", ["distilgpt2_medquad.yaml", "medgemma_cardio.yaml"])
def test_data_of_a_language_model_must_be_there(tmp_path: Path, name: str, rehearse: bool) -> None:
    """In a rehearsal too: it reads the spec's own records."""
    gone = tmp_path / "gone"
    loaded = load_spec(FOLDER / name, (f"data.root={gone}",), {})
    assert ("data.root", f"nothing at {gone}") in said(loaded, rehearse=rehearse)


def test_a_place_is_found_however_deep_it_stands(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    parts = f"[{{source: cardio, root: {gone}/a, prompt: '{{age_years}}', answers: {{absent: no, present: yes}}}}, "
    parts += f"{{source: messages, path: {gone}/b.jsonl}}, {{source: huggingface, id: some/set, messages_column: m}}]"
    data = f"{{source: mixture, components: {parts}, template: question_answer, split: {{by: record, train: 0.8, test: 0.2, validation: 0}}}}"
    quickstart = FOLDER / "quickstart" / "llm.yaml"
    loaded = load_spec(quickstart, (f"data={data}", "train.evaluate_every=null", "model.base=./gone"), {})
    assert [path for path, _ in said(loaded, rehearse=True)] == [
        "data.components[0].root",
        "data.components[1].path",
    ]
    assert said(loaded, rehearse=False)[0][0] == "model.base"


def test_every_declared_place_is_looked_for_but_those_that_a_run_writes() -> None:
    """A new key of this form is looked for without a word here; one that is written to must be named."""
    assert place_keys() >= {
        "root",
        "path",
        "id",
        "base",
        "tokenizer",
        "adapter",
        "checkpoint",
        "teacher",
        "data",
    }
    assert not place_keys() & {"cache", "uri"}
