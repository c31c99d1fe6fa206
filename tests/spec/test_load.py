"""Loading: numbers, paths, the environment, `extends`, `--set`, and files that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runner.spec.fields import leaves
from runner.spec.load import MAX_EXTENDS, Loaded
from runner.spec.model import LlmSpec, Lora
from runner.spec.problems import Problem, SpecError
from runner.spec.sources import MedquadData, MessagesComponent, MessagesData, MixtureData
from runner.spec.text_file import MAX_BYTES
from runner.spec.vlm import VlmSpec
from runner.validate import load_spec

ROOT = Path(__file__).parent.parent.parent
HANGS_S = 120
"""A loop in a loop takes longer than this on any machine; no measure of speed."""

Load = Callable[..., Loaded]
Check = Callable[..., tuple[Problem, ...]]


@pytest.mark.parametrize("written", ["2e-4", "2E-4", "0.0002", ".0002", "2.0e-04", "+2e-4"])
def test_all_ways_to_write_a_number(written: str, base_text: str, load_text: Load) -> None:
    loaded = load_text(base_text.replace("learning_rate: 2e-4", f"learning_rate: {written}"))
    assert loaded.spec.train.learning_rate == 0.0002
    assert loaded.tree.values[("train", "learning_rate")].line == 24


def test_a_whole_number_stands_for_a_number_and_not_the_other_way(base_text: str, load_text: Load) -> None:
    spec = load_text(base_text.replace("learning_rate: 2e-4", "learning_rate: 1")).spec
    assert spec.train.learning_rate == 1.0
    assert isinstance(spec.train.epochs, float)


def test_no_is_text(base_text: str, load_text: Load) -> None:
    spec = load_text(base_text.replace("comparable: partly", "comparable: no")).spec
    assert spec.reference is not None
    assert spec.reference.metrics[0].comparable == "no"


def test_a_loaded_spec_cannot_change(base_text: str, load_text: Load) -> None:
    spec = load_text(base_text).spec
    with pytest.raises(ValidationError, match="frozen"):
        spec.train.seed = 3
    assert isinstance(spec.evaluate, tuple)


# ----------------------------------------------------------------------------------------- paths


def test_paths_are_relative_to_the_file_and_those_of_set_to_here(
    base_text: str, load_text: Load, tmp_path: Path
) -> None:
    Path("specs").mkdir()
    Path("specs/part.yaml").write_text(
        "data: {path: ./part.jsonl}\nmodel: {tokenizer: ./tok, adapter: a/b}\n"
    )
    text = base_text.replace("  path: ./train.jsonl\n", "").replace(
        "spec: 1", "extends: specs/part.yaml\nspec: 1"
    )
    spec = load_text(text, sets=["model.tokenizer=../tok"]).spec
    assert isinstance(spec.data, MessagesData)
    assert spec.data.path == str(tmp_path / "specs" / "part.jsonl")
    assert spec.model.base == str(tmp_path / "models" / "tiny")
    assert spec.model.tokenizer == str(tmp_path.parent / "tok")
    assert spec.model.adapter == "a/b"  # a hub id, not a path


def test_paths_inside_a_set_and_inside_a_sweep(base_text: str, load_text: Load, tmp_path: Path) -> None:
    change = (
        "data={source: mixture, template: chatml, split: {train: 8, validation: 1, test: 1, by: record}, "
        "components: [{source: messages, path: a.jsonl}]}"
    )
    data = load_text(base_text, sets=[change]).spec.data
    assert isinstance(data, MixtureData)
    (part,) = data.components
    assert isinstance(part, MessagesComponent)
    assert part.path == str(tmp_path / "a.jsonl")

    Path("specs").mkdir()
    sweep = "sweep:\n  axes: {data.path: [./a.jsonl, b.jsonl]}\n  arms: {other: {model.base: ../m}}\n"
    Path("specs/part.yaml").write_text(sweep)
    loaded = load_text("extends: specs/part.yaml\n" + base_text)
    assert loaded.spec.sweep is not None
    assert loaded.spec.sweep.axes["data.path"] == (
        str(tmp_path / "specs" / "a.jsonl"),
        str(tmp_path / "specs" / "b.jsonl"),
    )
    assert loaded.spec.sweep.arms["other"]["model.base"] == str(tmp_path / "m")


@pytest.mark.parametrize(
    ("written", "environ", "stored"),
    [
        ("${env:ROOT}/x", {"ROOT": "/data"}, "${env:ROOT}/x"),
        ("${env:ROOT:-./here}/x", {}, "${env:ROOT:-{tmp}/here}/x"),
        ("${env:ROOT:-/abs}", {}, "${env:ROOT:-/abs}"),
        ("sub/${env:ROOT:-x}", {}, "{tmp}/sub/${env:ROOT:-x}"),
        ("~nobody-here/x", {}, "{tmp}/~nobody-here/x"),
        ("a/../b", {}, "{tmp}/b"),
    ],
)
def test_placeholders_in_paths_are_kept(
    written: str, environ: dict[str, str], stored: str, base_text: str, load_text: Load, tmp_path: Path
) -> None:
    text = base_text.replace(
        "source: messages\n  path: ./train.jsonl", f'source: medquad\n  root: "{written}"'
    )
    data = load_text(text, environ=environ).spec.data
    assert isinstance(data, MedquadData)
    assert data.root == stored.replace("{tmp}", str(tmp_path))


def test_a_variable_is_read_by_the_rules_of_yaml_where_a_number_is_wanted(
    base_text: str, load_text: Load
) -> None:
    text = base_text.replace("rank: 8", "rank: ${env:RANK:-8}").replace("2e-4", "${env:RATE}")
    spec = load_text(text, environ={"RATE": "5e-5"}).spec
    assert isinstance(spec.method, Lora)
    assert (spec.method.rank, spec.train.learning_rate) == (8, 5e-5)


def test_free_text_keeps_its_placeholder_so_that_nothing_private_is_stored(
    base_text: str, load_text: Load
) -> None:
    text = base_text.replace("./models/tiny", "${env:WHERE}/tiny")
    loaded = load_text(text, environ={"WHERE": "/home/somebody"})
    assert loaded.spec.model.base == "${env:WHERE}/tiny"
    assert "somebody" not in loaded.spec.model_dump_json()


def test_the_texts_that_take_a_placeholder_are_those_that_only_a_stage_reads() -> None:
    """Anything else is read by a rule, a plan or the engine's own checks before a value is put in."""
    common = {
        "model.base", "model.tokenizer", "model.adapter", "data.root",
        "evaluate.data", "evaluate.include", "evaluate.file", "evaluate.images", "tracking.mlflow.uri", "tracking.mlflow.experiment", "tracking.wandb.project", "tracking.wandb.entity",
    }  # fmt: skip
    components = {"data.components.root", "data.components.path", "data.components.id"}
    of_text = {leaf.path for leaf in leaves(LlmSpec) if leaf.placeholder}
    assert of_text == common | components | {"data.path", "data.id"}
    assert {leaf.path for leaf in leaves(VlmSpec) if leaf.placeholder} == common


def test_a_placeholder_in_a_sweep_is_judged_where_it_is_laid_over_the_spec(
    base_text: str, problems_of_text: Check
) -> None:
    sweep = 'sweep:\n  axes:\n    {path}: ["${{env:X:-y}}"]\n'
    assert problems_of_text(base_text + sweep.format(path="model.base")) == ()
    (problem,) = problems_of_text(base_text + sweep.format(path="model.revision"))
    assert (problem.code, problem.path.startswith("sweep.")) == ("env", True)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("HF_TOKEN", "MY_APIKEY", "API_KEY", "DB_PASS", "DB_PWD", "BASIC_AUTH")),
        *((name, True) for name in ("apikey", "PASS_PHRASE", "AWS_SECRET", "CREDENTIALS")),
        *((name, False) for name in ("PWD", "AUTHOR", "COMPASS", "KEYBOARD", "PASSAGES", "MONKEY", "MODEL")),
    ],
)
def test_names_of_secrets(base_text: str, problems_of_text: Check, name: str, secret: bool) -> None:
    text = base_text.replace("./models/tiny", f"${{env:{name}}}")
    problems = problems_of_text(text, environ={name: "./x"})
    assert [p.code for p in problems] == (["env"] if secret else [])


def test_a_token_is_never_repeated(base_text: str, problems_of_text: Check) -> None:
    token = "hf_" + "a1B2" * 10
    for old, new in (("rank: 8", f"rank: {token}"), ("A page", f"see {token}"), ("cosine", token)):
        problems = problems_of_text(base_text.replace(old, new))
        assert [p.code for p in problems] == ["secret"]
        assert token not in problems[0].text()
    (problem,) = problems_of_text(base_text, sets=[f"summary={token}"])
    assert (problem.code, problem.file) == ("secret", "--set summary=***")


def test_a_commit_is_no_token(base_text: str, load_text: Load) -> None:
    text = base_text.replace(
        "base: ./models/tiny", "base: a/b\n  revision: " + "0123456789abcdef" * 2 + "01234567"
    )
    assert load_text(text).spec.model.revision is not None


# --------------------------------------------------------------------------------------- extends


def test_a_file_is_laid_over_what_it_extends(base_text: str, load_text: Load) -> None:
    files = {
        "base.yaml": base_text,
        "more.yaml": "train: {epochs: 5, seed: 1}\ncompute: {gpu: A100, device: cuda}\n",
    }
    loaded = load_text("extends: [base.yaml, more.yaml]\ntrain: {epochs: 7}\nname: mine\n", files=files)
    spec = loaded.spec
    assert (spec.name, spec.train.epochs, spec.train.seed) == ("mine", 7.0, 1)
    assert spec.train.learning_rate == 2e-4
    assert (spec.compute.gpu, spec.compute.device) == ("A100", "cuda")
    places = {
        path: loaded.tree.values[path]
        for path in (("train", "epochs"), ("train", "seed"), ("train", "schedule"))
    }
    assert [(m.file, m.line) for m in places.values()] == [
        ("spec.yaml", 2),
        ("more.yaml", 1),
        ("base.yaml", 25),
    ]


def test_lists_are_replaced_whole_and_so_is_another_variant(base_text: str, load_text: Load) -> None:
    text = (
        "extends: base.yaml\nmethod: {name: full}\nevaluate: [{task: perplexity, split: validation}]\n"
        "data: {source: synthetic_medical_qa, records: 50, template: chatml, "
        "split: {train: 30, validation: 10, test: 10, by: record}}\n"
    )
    loaded = load_text(text, files={"base.yaml": base_text})
    assert loaded.spec.method.name == "full"
    assert [task.split for task in loaded.spec.evaluate] == ["validation"]
    assert loaded.spec.data.filter.min_answer_words == 0
    assert ("evaluate", 1) not in loaded.tree.values
    assert ("method", "rank") not in loaded.tree.keys


def test_the_same_word_keeps_the_rest_of_the_section(base_text: str, load_text: Load) -> None:
    loaded = load_text("extends: base.yaml\nmethod: {name: lora, rank: 4}\n", files={"base.yaml": base_text})
    assert isinstance(loaded.spec.method, Lora)
    assert (loaded.spec.method.rank, loaded.spec.method.alpha) == (4, 16)


def test_a_diamond_is_no_circle(base_text: str, load_text: Load) -> None:
    files = {
        "base.yaml": base_text,
        "a.yaml": "extends: base.yaml\n",
        "b.yaml": "extends: base.yaml\nname: b\n",
    }
    assert load_text("extends: [a.yaml, b.yaml]\n", files=files).spec.name == "b"


def test_a_long_chain_is_refused(base_text: str, problems_of_text: Check) -> None:
    files = {f"f{n}.yaml": f"extends: f{n + 1}.yaml\n" for n in range(MAX_EXTENDS + 2)}
    problems = problems_of_text("extends: f0.yaml\n" + base_text, files=files)
    assert [p.code for p in problems] == ["extends"]
    assert f"more than {MAX_EXTENDS}" in problems[0].message


@pytest.mark.parametrize("name", ["a\0b.yaml", "x" * 5000, "a/../../nothing.yaml", "/proc/nothing", ""])
def test_odd_names_are_refused(name: str, base_text: str, problems_of_text: Check) -> None:
    written = name.replace("\0", "\\0")
    problems = problems_of_text(f'extends: "{written}"\n' + base_text)
    assert [(p.code, p.line) for p in problems] == [("extends", 1)]


@pytest.mark.timeout(HANGS_S)
def test_many_values_are_merged_in_time(base_text: str, problems_of_text: Check) -> None:
    """20,000 values over 20,000 others: the places are merged in one pass."""
    big = "sweep:\n  arms:\n" + "".join(f"    arm{n}: {{train.seed: {n}}}\n" for n in range(10_000))
    problems = problems_of_text("extends: base.yaml\n" + big, files={"base.yaml": base_text + big})
    assert [p.code for p in problems] == ["sweep"]


@pytest.mark.timeout(HANGS_S)
def test_many_wrong_keys_are_named_in_time(base_text: str, problems_of_text: Check) -> None:
    problems = problems_of_text(base_text + "".join(f"kye{n}: {n}\n" for n in range(3_000)))
    assert len(problems) == 201
    assert (problems[-1].code, problems[-1].message) == ("too-many", "and 2,800 more problems")


# ----------------------------------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("train.epochs=3", "train.epochs", 3.0),
        ("train.epochs= 3", "train.epochs", 3.0),
        ("train.learning_rate=1e-3", "train.learning_rate", 1e-3),
        ("train.warmup_ratio=null", "train.warmup_ratio", None),
        ("summary=a = b", "summary", "a = b"),
        ('summary="3"', "summary", "3"),
        ("method.include=[language.mlp, lm_head]", "method.include", ("language.mlp", "lm_head")),
        ("data.split={train: 10, validation: 5, test: 5, by: focus}", "data.split.by", "focus"),
        ("evaluate[1].records=7", "evaluate.1.records", 7),
        ("report.title=T", "report.title", "T"),
        ("train.loader.workers=${env:W:-2}", "train.loader.workers", 2),
    ],
)
def test_set(change: str, path: str, value: Any, base_text: str, load_text: Load) -> None:
    loaded = load_text(base_text, sets=[change])
    found: Any = loaded.spec
    for part in path.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("sets", "wrong"),
    [
        (["train.seed=1", "train.seed=2"], ["train.seed"]),
        (["train.seed=1", "train.seed=1"], ["train.seed"]),
        (["report.title=a", "report={title: b}"], ["report.title"]),
        (["evaluate[0].split=test", "evaluate[1].records=7"], []),
        (["report={title: b}", "report.title=a"], []),  # the second completes the first
        (["train.seed", "train.seed=2"], ["", "train.seed"]),
    ],
)
def test_a_set_that_a_later_one_makes_void_is_refused(
    sets: list[str], wrong: list[str], base_text: str, problems_of_text: Check
) -> None:
    assert [p.path for p in problems_of_text(base_text, sets=sets) if p.code == "set"] == wrong


def test_a_set_leaves_the_file_alone(base_text: str, load_text: Load) -> None:
    loaded = load_text(base_text, sets=["train.seed=2"])
    assert loaded.spec.train.seed == 2
    assert loaded.text == base_text
    assert loaded.tree.values[("train", "seed")].file == "--set train.seed=2"


def test_what_is_missing_below_a_set_section_is_said_of_the_set(
    base_text: str, problems_of_text: Check
) -> None:
    (problem,) = problems_of_text(base_text, sets=["tracking.mlflow.uri=x"])
    assert (problem.file, problem.code, problem.path) == (
        "--set tracking.mlflow.uri=x",
        "missing-key",
        "tracking.mlflow.experiment",
    )


def test_a_set_that_is_no_text(base_text: str, problems_of_text: Check) -> None:
    (problem,) = problems_of_text(base_text, sets=["train.seed=\udcff"])
    assert problem.code == "wrong-type"
    assert problem.file.isprintable()


# ----------------------------------------------------------------------------------------- files


def error_of(path: Path) -> Problem:
    with pytest.raises(SpecError) as caught:
        load_spec(path, [], {})
    (problem,) = caught.value.problems
    return problem


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert (error_of(tmp_path / "no.yaml").code, error_of(tmp_path).code) == ("file", "file")
    assert "No such file" in error_of(tmp_path / "no.yaml").message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("spec: 1\n")
    file.chmod(0)
    assert error_of(file).code == "file"


def test_a_file_that_is_too_long(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    assert "1,048,577 bytes" in error_of(file).message


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"name: \xe9\n", bytes(range(256))])
def test_a_file_that_is_no_text(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_bytes(content)
    assert (error_of(file).code, error_of(file).hint) == ("yaml", "save it as UTF-8")


def test_marks_of_windows(base_text: str, tmp_path: Path) -> None:
    """A byte order mark and CR LF change neither values nor lines."""
    file = tmp_path / "spec.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + base_text.replace("\n", "\r\n").encode())
    loaded = load_spec(file, [], {})
    assert loaded.spec.name == "broken"
    assert loaded.tree.values[("tracking", "wandb", "project")].line == 45


def test_files_are_named_as_short_as_they_can_be(base_text: str, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "specs").mkdir()
    file = tmp_path / "specs" / "a.yaml"
    file.write_text(base_text.replace("rank: 8", "rank: x"))
    assert error_of(file).file == str(file)
    monkeypatch.chdir(tmp_path)
    assert error_of(file).file == "specs/a.yaml"
    assert error_of(Path("specs/../specs/a.yaml")).file == "specs/../specs/a.yaml"


def test_every_problem_of_a_file_at_once(base_text: str, problems_of_text: Check) -> None:
    text = (
        base_text.replace("rank: 8", "rank: '8'")
        .replace("schedule:", "shedule:")
        .replace("effective: 8", "effective: 9")
        .replace("device: cpu", "device: tpu\n  device: cpu")
        .replace("project: p", 'project: "${env:NOT_SET}"')
    )
    found = {(p.code, p.line) for p in problems_of_text(text, sets=["train.seed=x"])}
    assert found == {
        ("wrong-type", 0),
        ("wrong-type", 19),
        ("unknown-key", 25),
        ("R003", 29),
        ("duplicate-key", 36),
        ("env", 46),
    }


def test_paths_are_those_of_the_kind_that_another_file_says(
    load_text: Load, tmp_path: Path, base_text: str
) -> None:
    """In a vlm spec `data.path` is below `data.root`; in an llm spec it is beside the file that names it."""
    vlm = (ROOT / "specs/quickstart/vlm.yaml").read_text(encoding="utf-8")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/vlm.yaml").write_text(vlm, encoding="utf-8")
    changes = "data: {source: ecginstruct, root: ./ecg, path: x.json, images: [pages], template: gemma3, split: {train: 0.8, validation: 0.1, test: 0.1, by: group}}\n"
    loaded = load_text("extends: specs/vlm.yaml\nevaluate: []\n" + changes)
    assert (loaded.spec.data.root, loaded.spec.data.path) == (str(tmp_path / "ecg"), "x.json")  # type: ignore[union-attr]
    part = "data: {path: ./a.jsonl}\n"  # says neither kind nor source: those of the file above hold
    (tmp_path / "specs/part.yaml").write_text(part, encoding="utf-8")
    text = "extends: specs/part.yaml\n" + base_text.replace("  path: ./train.jsonl\n", "")
    assert load_text(text).spec.data.path == str(tmp_path / "specs/a.jsonl")  # type: ignore[union-attr]
