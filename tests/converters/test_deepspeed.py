"""The DeepSpeed strategies, held to DeepSpeed's own config class and to the trainer's comparison."""

from __future__ import annotations

import copy
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from converters.deepspeed import FIELDS, dump, strategies, to_deepspeed
from converters.numbers import numbers_of, stated_counts
from runner.spec.model import LlmSpec
from runner.spec.shared import Compute

MakeSpec = Callable[..., LlmSpec]

FOLDER = Path(__file__).parents[2] / "deepspeed_configs"
ZERO = [name for name in get_args(Compute.model_fields["strategy"].annotation) if name.startswith("zero")]


def converted(spec: LlmSpec) -> dict[str, Any] | None:
    return to_deepspeed(spec, numbers_of(spec, stated_counts(spec)))


def with_strategy(make_spec: MakeSpec, strategy: str, **changes: Any) -> dict[str, Any]:
    """Return the config on 4 GPUs: 32 records a step at micro batch 4 are 2 accumulated."""
    config = converted(
        make_spec(
            {
                "compute": {"device": "cuda", "gpus": 4, "strategy": strategy},
                "train.batch": {"micro": 4, "effective": 32},
                "train.precision": "bf16",
                **changes,
            }
        )
    )
    assert config is not None
    return config


@pytest.fixture
def four_processes(engine: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return DeepSpeed's config class, which is told that 4 processes take part."""
    from deepspeed.runtime import config

    monkeypatch.setattr(config.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(config.dist, "get_world_size", lambda: 4)
    return config.DeepSpeedConfig


# --------------------------------------------------------------------------------------------- the files


def test_every_strategy_has_its_file_and_its_line() -> None:
    assert strategies().keys() == set(ZERO)
    assert {path.stem for path in FOLDER.glob("*.json")} - {"index"} == set(ZERO)
    readme = (FOLDER / "README.md").read_text()
    for name, said in strategies().items():
        assert f"| `{name}` | {said['shards']} | {said['offloads']} |" in readme


@pytest.mark.parametrize("strategy", ZERO)
def test_a_file_shards_and_offloads_what_its_line_says(strategy: str) -> None:
    said = strategies()[strategy]
    zero = json.loads((FOLDER / f"{strategy}.json").read_text())["zero_optimization"]
    shards = ("optimiser states", "gradients", "weights")[: zero["stage"]]
    assert zero["stage"] == said["stage"]
    assert said["shards"].replace(" and ", ", ").split(", ") == list(shards)
    offloads = {key: zero[key]["device"] for key in ("offload_optimizer", "offload_param") if key in zero}
    if said["offloads"] == "nothing":
        assert not [key for key in zero if "offload" in key]
    else:
        assert offloads == {"offload_optimizer": "cpu", "offload_param": "cpu"}


# --------------------------------------------------------------------------------------------- the config


@pytest.mark.parametrize("strategy", ["none", "ddp"])
def test_other_strategies_do_without_deepspeed(strategy: str, make_spec: MakeSpec) -> None:
    assert converted(make_spec({"compute.strategy": strategy})) is None


def test_batch_sizes_are_numbers_that_agree(make_spec: MakeSpec) -> None:
    config = with_strategy(make_spec, "zero2")
    assert config["train_micro_batch_size_per_gpu"] == 4
    assert config["gradient_accumulation_steps"] == 2
    assert config["train_batch_size"] == 32
    assert "auto" not in dump(config)


@pytest.mark.parametrize(
    ("precision", "bf16", "fp16"), [("bf16", True, False), ("fp16", False, True), ("fp32", False, False)]
)
def test_the_number_format(precision: str, bf16: bool, fp16: bool, make_spec: MakeSpec) -> None:
    config = with_strategy(make_spec, "zero1", **{"train.precision": precision})
    assert (config["bf16"], config["fp16"]) == ({"enabled": bf16}, {"enabled": fp16})


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("train.batch.micro", {"train.batch": {"micro": 8, "effective": 32}}),
        ("train.batch.effective", {"train.batch": {"micro": 4, "effective": 64}}),
        ("train.max_grad_norm", {"train.max_grad_norm": 0.5}),
        ("train.precision", {"train.precision": "fp16"}),
        ("compute.strategy", {"compute.strategy": "zero3"}),
    ],
)
def test_every_mapped_field_reaches_the_config(
    path: str, change: dict[str, Any], make_spec: MakeSpec
) -> None:
    before, after = with_strategy(make_spec, "zero2"), with_strategy(make_spec, "zero2", **change)
    differ = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert differ & {key for name, key in FIELDS if name == path}


BY_HAND: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    # spec path, changes on 4 GPUs (bf16, zero2, micro 4, 32 a step), DeepSpeed's keys as they must stand
    (
        "train.batch.micro",
        {"train.batch": {"micro": 2, "effective": 40}},
        {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 5, "train_batch_size": 40},
    ),
    (
        "train.batch.effective",
        {"train.batch": {"micro": 3, "effective": 84}},
        {"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 7, "train_batch_size": 84},
    ),
    ("train.max_grad_norm", {"train.max_grad_norm": 0.7}, {"gradient_clipping": 0.7}),
    ("train.precision", {"train.precision": "bf16"}, {"bf16": {"enabled": True}, "fp16": {"enabled": False}}),
    ("train.precision", {"train.precision": "fp16"}, {"bf16": {"enabled": False}, "fp16": {"enabled": True}}),
    (
        "compute.strategy",
        {},
        {
            "zero_optimization": {
                "stage": 2,
                "contiguous_gradients": True,
                "overlap_comm": True,
                "reduce_scatter": True,
                "reduce_bucket_size": 200000000,
                "allgather_partitions": True,
                "allgather_bucket_size": 200000000,
            }
        },
    ),
)
MISSING = "(not written)"


def wrong(config: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    return {key: config.get(key, MISSING) for key, value in expected.items() if config.get(key) != value}


@pytest.mark.parametrize(("path", "changes", "expected"), BY_HAND)
def test_each_row_by_hand(
    path: str, changes: dict[str, Any], expected: dict[str, Any], make_spec: MakeSpec
) -> None:
    assert wrong(with_strategy(make_spec, "zero2", **changes), expected) == {}, path


def test_every_row_is_written_out() -> None:
    shown = {(path, key) for path, _, expected in BY_HAND for key in expected}
    assert set(FIELDS) <= shown
    assert {key for _, key in FIELDS} == {key for _, key in shown}


def test_any_two_keys_exchanged_are_noticed(make_spec: MakeSpec) -> None:
    """All pairs, with their values exchanged after the conversion: the table above must see it."""
    written = [(with_strategy(make_spec, "zero2", **changes), expected) for _, changes, expected in BY_HAND]
    assert not any(wrong(config, expected) for config, expected in written)
    keys = sorted({key for _, key in FIELDS})
    unnoticed = [
        (first, second)
        for first, second in itertools.combinations(keys, 2)
        if not any(
            wrong(config | {first: config[second], second: config[first]}, expected)
            for config, expected in written
        )
    ]
    assert unnoticed == []


def test_raw_keys_are_laid_over_mapping_by_mapping(make_spec: MakeSpec) -> None:
    raw = {"zero_optimization": {"overlap_comm": False}, "wall_clock_breakdown": True}
    config = with_strategy(make_spec, "zero3", deepspeed=raw)
    assert config["zero_optimization"]["overlap_comm"] is False
    assert config["zero_optimization"]["stage"] == 3
    assert config["wall_clock_breakdown"] is True
    assert raw == {"zero_optimization": {"overlap_comm": False}, "wall_clock_breakdown": True}


# --------------------------------------------------------------------------------------- the engine's word


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("strategy", ZERO)
def test_deepspeed_accepts_the_config_and_reads_it_so(
    strategy: str, make_spec: MakeSpec, four_processes: Any
) -> None:
    config = with_strategy(make_spec, strategy)
    read = four_processes(copy.deepcopy(config))
    assert read.zero_optimization_stage == strategies()[strategy]["stage"]
    assert (read.train_batch_size, read.train_micro_batch_size_per_gpu) == (32, 4)
    assert read.gradient_accumulation_steps == 2
    assert read.gradient_clipping == 1.0
    assert (read.bfloat16_config.enabled, read.float16_config.enabled) == (True, False)
    zero = read.zero_config
    offloaded = strategy == "zero3_offload"
    assert (zero.offload_optimizer is not None, zero.offload_param is not None) == (offloaded, offloaded)
    assert read.optimizer_name is None
    for key in config["zero_optimization"]:
        assert key in _known(type(zero)), f"{key} is not one of DeepSpeed's own"


def _known(model: Any) -> set[str]:
    return set(model.model_fields) | {field.alias for field in model.model_fields.values()}


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
def test_deepspeed_refuses_another_number_of_processes(
    make_spec: MakeSpec, four_processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepspeed.runtime import config as module

    monkeypatch.setattr(module.dist, "get_world_size", lambda: 2)
    with pytest.raises(AssertionError, match=r"32 != 4 \* 2 \* 2"):
        four_processes(with_strategy(make_spec, "zero2"))


class TrainerArguments:
    """What the trainer compares with the DeepSpeed config, as Axolotl sets it from ours."""

    def __init__(self, axolotl: dict[str, Any], world_size: int) -> None:
        self.world_size = world_size
        self.per_device_train_batch_size = axolotl["micro_batch_size"]
        self.gradient_accumulation_steps = axolotl["gradient_accumulation_steps"]
        self.max_grad_norm = axolotl["max_grad_norm"]
        self.learning_rate = axolotl["learning_rate"]
        self.adam_beta1, self.adam_beta2, self.adam_epsilon = 0.9, 0.999, 1e-8
        self.weight_decay = axolotl["weight_decay"]
        self.save_on_each_node = False
        self.fp16, self.fp16_full_eval = axolotl["fp16"], False
        self.bf16, self.bf16_full_eval = axolotl["bf16"], False

    def get_warmup_steps(self, steps: int) -> int:
        return 0


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("processes", "differs"), [(4, False), (2, True)])
def test_the_trainer_compares_it_with_its_own_values(
    processes: int, differs: bool, make_spec: MakeSpec, config_of: Callable[..., dict[str, Any]]
) -> None:
    """With the planned 4 processes all agrees; with 2, training stops before the first step."""
    from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig, unset_hf_deepspeed_config

    axolotl = config_of(
        {
            "compute": {"device": "cuda", "gpus": 4, "strategy": "zero3"},
            "train.batch": {"micro": 4, "effective": 32},
            "train.precision": "bf16",
        }
    )
    held = HfTrainerDeepSpeedConfig(with_strategy(make_spec, "zero3"))
    arguments = TrainerArguments(axolotl, processes)
    try:
        held.trainer_config_process(arguments)
        if differs:
            with pytest.raises(ValueError, match="train_batch_size=32 vs hf"):
                held.trainer_config_finalize(arguments, None, 16)
        else:
            held.trainer_config_finalize(arguments, None, 16)
    finally:
        unset_hf_deepspeed_config()


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
def test_deepspeed_trains_with_every_strategy(make_spec: MakeSpec, tmp_path: Path) -> None:
    """16 passes at 2 accumulated are 8 steps; the optimiser stays the spec's, offloaded or not."""
    changes = {"train.batch": {"micro": 4, "effective": 8}, "train.precision": "bf16"}
    configs = {name: converted(make_spec({"compute.strategy": name, **changes})) for name in ZERO}
    out = tmp_path / "engaged.json"
    program = Path(__file__).with_name("deepspeed_engages.py")
    result = subprocess.run(
        [sys.executable, program, out], input=json.dumps(configs), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    expected = {
        name: {
            "stage": said["stage"],
            "steps": 8,
            "learns": True,
            "optimizer": "AdamW",
            "offloads": said["offloads"] != "nothing",
            "clips": 1.0,
        }
        for name, said in strategies().items()
    }
    assert json.loads(out.read_text()) == expected
