"""The plan of the data stage alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from converters.numbers import Counts
from runner.machine import Machine
from runner.plan import complete, make_plan, plan_from_json, plan_to_json
from runner.previewing.alone import MOST_RECORDS, data_alone
from runner.spec.problems import UsageError
from runner.validate import load_spec
from tests.support.specs import FOLDER, specs_of_kind

CPU = Machine("Linux", 2, 8.0, 0, None, None, mps=False, bf16=False)
QUICKSTART = load_spec(FOLDER / "quickstart" / "llm.yaml", (), {}).spec


@pytest.mark.parametrize("path", specs_of_kind(), ids=lambda path: path.stem)
def test_every_spec_has_a_data_stage_that_stands_alone(path: object) -> None:
    spec = load_spec(path, (), {}).spec  # type: ignore[arg-type]
    whole = make_plan(spec, CPU)
    cut = data_alone(whole, None)
    assert [stage.name for stage in cut.stages] == ["data"]
    assert cut.stages[0] == whole.stages[0]
    assert replace(cut, stages=whole.stages, lacks=whole.lacks, notes=whole.notes) == whole
    assert plan_from_json(plan_to_json(cut)) == cut


def test_a_missing_gpu_is_no_reason_not_to_prepare_data() -> None:
    spec = load_spec(FOLDER / "medgemma_cardio.yaml", (), {}).spec
    whole = make_plan(spec, CPU)
    cut = data_alone(whole, None)
    assert whole.lacks
    assert cut.lacks == ()
    assert all(any(item in note for note in cut.notes) for item in whole.lacks)


def test_a_preview_comes_last_and_brings_the_small_model_of_a_rehearsal() -> None:
    rehearsal = data_alone(make_plan(QUICKSTART, CPU, rehearse=True), 3)
    assert [stage.name for stage in rehearsal.stages] == ["data", "tiny_model", "preview"]
    preview = rehearsal.stages[-1]
    assert "model" in preview.reads
    assert preview.settings["records"] == 3
    assert preview.settings["context"] == 128
    assert preview.environment["CUDA_VISIBLE_DEVICES"] == ""
    real = load_spec(FOLDER / "distilgpt2_medquad.yaml", (), {}).spec
    assert [stage.name for stage in data_alone(make_plan(real, CPU), 1).stages] == ["data", "preview"]


def test_counted_records_do_not_bring_the_other_stages_back() -> None:
    cut = data_alone(make_plan(QUICKSTART, CPU, rehearse=True), 2)
    counted = complete(cut, Counts(240, 40, 40))
    assert counted.stages == cut.stages
    whole = make_plan(QUICKSTART, CPU, rehearse=True)
    assert [stage.name for stage in complete(whole, Counts(240, 40, 40)).stages] == [
        s.name for s in whole.stages
    ]


@pytest.mark.parametrize("records", [0, -1, MOST_RECORDS + 1])
def test_how_many_records_are_shown_has_its_limits(records: int) -> None:
    with pytest.raises(UsageError, match=f"expected 1 to {MOST_RECORDS} records, got {records}"):
        data_alone(make_plan(QUICKSTART, CPU), records)


def test_signals_have_no_tokens_to_be_shown() -> None:
    spec = load_spec(FOLDER / "quickstart" / "ecg.yaml", (), {}).spec
    with pytest.raises(UsageError, match="kind ecg has signals"):
        data_alone(make_plan(spec, CPU), 2)
