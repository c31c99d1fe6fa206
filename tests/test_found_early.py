"""What can be known before anything is started is said before: models, tables, sub-groups, devices."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from converters.records.ecg import code15, ptbxl, sph
from runner.execute import LOG_TAIL, end_of_log
from runner.machine import Machine
from runner.missing import TABLES, missing_files
from runner.missing_models import unfit_models
from runner.plan import lacks
from runner.spec.ecg_facts import ATTRIBUTES
from runner.spec.kinds import KINDS
from runner.spec.load import Loaded
from runner.spec.problems import Problem, SpecError
from runner.validate import load_spec

ROOT = Path(__file__).parent.parent
LLM = ROOT / "specs" / "quickstart" / "llm.yaml"
ECG = ROOT / "specs" / "quickstart" / "ecg.yaml"
PTBXL = ROOT / "specs" / "ecg_fusion_ptbxl.yaml"
BASE = (ROOT / "tests" / "spec" / "base.yaml").read_text(encoding="utf-8")


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Loaded]:
    """Return a function that loads a small spec whose model is `base`."""

    def load(base: str, *sets: str) -> Loaded:
        file = tmp_path / "spec.yaml"
        file.write_text(BASE.replace("./models/tiny", base))
        return load_spec(file, sets, {})

    return load


def unfit(spec: Loaded, environ: dict[str, str] | None = None) -> list[Problem]:
    return list(unfit_models(spec, environ or {}, rehearse=False))


# ------------------------------------------------------------------------------ models


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({"n_positions": 100}, 100),
        ({"max_position_embeddings": 100, "n_positions": 64}, 100),
        ({"text_config": {"max_position_embeddings": 100}}, 100),
        ({"max_position_embeddings": 128}, None),
        ({"max_position_embeddings": "many"}, None),
        ([1], None),
    ],
)
def test_a_context_beyond_the_model(
    config: object, most: int | None, loaded: Callable[..., Loaded], tmp_path: Path
) -> None:
    """The context of the spec is 128."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    found = unfit(loaded("./model"))
    assert [problem.path for problem in found] == (["model.context"] if most else [])
    if most:
        assert found[0].message == "got 128; the model takes 100 tokens, its config.json says"
        assert found[0].hint == "set model.context to at most 100"
    assert list(unfit_models(loaded("./model"), {}, rehearse=True)) == []


def test_a_config_that_is_a_pipe_is_not_waited_for(loaded: Callable[..., Loaded], tmp_path: Path) -> None:
    import os

    (tmp_path / "model").mkdir()
    os.mkfifo(tmp_path / "model" / "config.json")
    assert unfit(loaded("./model")) == []


def test_a_model_that_is_not_in_the_cache_while_offline(
    loaded: Callable[..., Loaded], tmp_path: Path
) -> None:
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    (problem,) = unfit(loaded("someone/model"), offline)
    assert problem.path == "model.base"
    assert (
        "someone/model is not in the cache, and the hub may not be asked (HF_HUB_OFFLINE is set)"
        in problem.message
    )
    assert unfit(loaded("someone/model"), {**offline, "HF_HUB_OFFLINE": "0"}) == []
    snapshot = tmp_path / "hf/hub/models--someone--model/snapshots/abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "hf/hub/models--someone--model/refs").mkdir()
    (tmp_path / "hf/hub/models--someone--model/refs/main").write_text("abc")
    (snapshot / "config.json").write_text('{"n_positions": 64}')
    (problem,) = (p for p in unfit(loaded("someone/model"), offline) if p.path == "model.base")
    assert "someone/model has no weights in the cache" in problem.message
    (snapshot / "model.safetensors").write_bytes(b"")
    assert [problem.path for problem in unfit(loaded("someone/model"), offline)] == ["model.context"]


def test_a_backbone_that_is_not_its_checkpoint_s(tmp_path: Path) -> None:
    """The head of a safetensors file: its length in 8 bytes, then JSON."""
    head = json.dumps({"__metadata__": {"facts": json.dumps({"backbone": "base"})}}).encode()
    file = tmp_path / "a.safetensors"
    file.write_bytes(struct.pack("<Q", len(head)) + head)
    (problem,) = unfit(load_spec(ECG, [f"model.checkpoint={file}"], {}))
    assert (problem.path, problem.message) == (
        "model.backbone",
        "got tinylight; the checkpoint's own facts say base",
    )
    assert unfit(load_spec(ECG, [f"model.checkpoint={file}", "model.backbone=base"], {})) == []
    for content in (b"", b"\xff" * 100, struct.pack("<Q", 2**60), struct.pack("<Q", 2) + b"[]"):
        file.write_bytes(content)
        assert unfit(load_spec(ECG, [f"model.checkpoint={file}"], {})) == []


# ------------------------------------------------------------------------------ tables and places


def test_the_table_of_recordings_must_be_there(tmp_path: Path) -> None:
    loaded = load_spec(PTBXL, [f"data.root={tmp_path}"], {})
    (problem,) = missing_files(loaded, {}, rehearse=False)
    assert problem.message == f"no file ptbxl_database.csv in {tmp_path}"
    assert problem.hint == "give the folder that holds ptbxl_database.csv"
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "ptbxl_database.csv").write_text("")
    (problem,) = missing_files(loaded, {}, rehearse=True)
    assert problem.hint == f"it lies in {tmp_path / 'inner'}: give that folder"
    (tmp_path / "ptbxl_database.csv").write_text("")
    assert missing_files(loaded, {}, rehearse=False) == []


def test_the_table_of_ones_own_recordings_must_be_there(tmp_path: Path) -> None:
    data = f"data={{source: arrays, root: {tmp_path}, fs_hz: 100, pipeline: [{{step: pad_or_crop, samples: 1024}}], split: {{by: patient, train: 0.6, validation: 0.2, test: 0.2}}}}"
    loaded = load_spec(ECG, [data], {})
    (problem,) = missing_files(loaded, {}, rehearse=False)
    assert problem.message == f"no file records.csv in {tmp_path}"
    (tmp_path / "records.csv").write_text("id\n")
    assert missing_files(loaded, {}, rehearse=False) == []


def test_the_tables_are_those_that_the_readers_open() -> None:
    assert TABLES == {"ptbxl": ptbxl.DATABASE, "code15": code15.EXAMS, "sph": sph.METADATA}


def test_a_missing_place_is_named_without_the_value_of_its_variable(tmp_path: Path) -> None:
    (tmp_path / "private-place").mkdir()
    environ = {"PLACE": str(tmp_path / "private-plac")}
    loaded = load_spec(PTBXL, ["data.root=${env:PLACE}"], environ)
    (problem,) = missing_files(loaded, environ, rehearse=False)
    assert problem.message == "nothing at ${env:PLACE}"
    assert "private" not in problem.hint
    environ = {"PLACE": str(tmp_path)}
    loaded = load_spec(PTBXL, ["data.root=${env:PLACE}/private-plac"], environ)
    (problem,) = missing_files(loaded, environ, rehearse=False)
    assert (problem.message, problem.hint) == (
        "nothing at ${env:PLACE}/private-plac",
        "nearest: ${env:PLACE}/private-place",
    )


# ------------------------------------------------------------------------------ sub-groups


def codes_of(file: Path, *sets: str) -> list[tuple[str, str]]:
    try:
        load_spec(file, sets, {})
    except SpecError as error:
        return [(problem.code, problem.message) for problem in error.problems]
    return []


def test_sub_groups_that_no_record_has() -> None:
    assert codes_of(ECG, "evaluate[0].subgroups=[sex, age_bnd]") == [
        ("R117", "no record of synthetic_ecg has 'age_bnd'; nearest: age_band")
    ]
    assert codes_of(ECG, "evaluate[0].subgroups=[age_band, site, sex, age]") == []
    cardio = ROOT / "specs" / "medgemma_cardio.yaml"
    text = cardio.read_text(encoding="utf-8")
    number = text[text.index("evaluate:") : text.index("subgroups:")].count("- ") - 1
    assert codes_of(cardio, f"evaluate[{number}].subgroups=[site]") == [("R118", "no record has 'site'")]


def test_every_source_of_recordings_says_what_it_knows() -> None:
    from runner.spec.fields import classes_in, literals_in

    sources = classes_in(KINDS["ecg"].model_fields["data"].annotation)
    words = {literals_in(cls.model_fields["source"].annotation)[0] for cls in sources}
    assert ATTRIBUTES.keys() == words


# ------------------------------------------------------------------------------ devices, logs

NO_GPU = Machine(
    system="Linux", cpus=2, memory_gib=8, gpus=0, gpu_name=None, gpu_memory_gib=None, mps=False, bf16=False
)


def test_a_machine_without_cuda_is_not_told_of_number_formats() -> None:
    spec = load_spec(LLM, ["compute.device=cuda", "train.precision=bf16"], {}).spec
    assert lacks(spec, NO_GPU) == ("compute.gpus asks for 1 CUDA device; this machine has 0",)
    old = replace(NO_GPU, gpus=1, gpu_name="Tesla P100")
    assert lacks(spec, old) == ("train.precision is bf16; Tesla P100 does not compute in it",)


def test_the_end_of_a_log_begins_with_what_failed() -> None:
    noise = [f"W1201 torchao {number}" for number in range(40)]
    said = ["runner: data/x.csv: no column id; it has a", "  write one"]
    assert end_of_log("\n".join([*noise, *said])) == said
    assert end_of_log("\n".join([*noise, *said, "a package says goodbye"]))[0] == said[0]
    trace = [
        "Traceback (most recent call last):",
        *(f"  frame {n}" for n in range(60)),
        "\x1b[31mValueError\x1b[0m: no",
    ]
    found = end_of_log("\n".join([*noise, *trace]))
    assert found[0] == "ValueError: no"
    assert found[-1] == "  frame 59"
    assert len(found) == 1 + LOG_TAIL
    assert end_of_log("\n".join(noise)) == noise[-LOG_TAIL:]
    assert end_of_log("") == []
