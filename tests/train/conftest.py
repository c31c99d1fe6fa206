"""A tiny model, a tokenizer and records, made once; run directories for the real engine made from them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}Question: {{ m['content'] }}\nAnswer: "
    "{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
WORDS = [
    "heart",
    "lung",
    "liver",
    "fever",
    "pain",
    "dose",
    "tablet",
    "blood",
    "pressure",
    "treat",
    "cause",
    "sign",
    "rest",
    "water",
    "cough",
    "rash",
]
TRAIN_ROWS, VALIDATION_ROWS = 43, 7
HIDDEN, MIDDLE, LAYERS, HEADS = 32, 64, 2, 4
PATTERN = r"model\.layers\.\d+\.(self_attn\.(q|v)_proj|mlp\.up_proj)"
PATIENCE_S = 240.0
"""How long an engine may take before a test gives up."""


@dataclass(frozen=True)
class Run:
    """One run directory."""

    path: Path

    @property
    def config(self) -> dict[str, Any]:
        return dict(yaml.safe_load((self.path / "config/axolotl.yaml").read_text()))

    def write_config(self, config: dict[str, Any]) -> None:
        (self.path / "config/axolotl.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def start(self, *command: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start the stage, or another command of the same interpreter, in the run directory."""
        log = (self.path / "train.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, *(command or ("-m", "runner.stages.train"))],
                cwd=self.path,
                env=os.environ | QUIET | environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def train(self, **environ: str) -> int:
        """Run the stage to its end and return its exit code."""
        return self.start(**environ).wait(timeout=PATIENCE_S)

    def wait_for(
        self, name: str, step: int, process: subprocess.Popen[bytes], skip: int = 0
    ) -> dict[str, Any]:
        """Return the first event `name` at or after `step`, not counting the first `skip` events."""
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            for event in self.events()[skip:]:
                if event["event"] == name and event.get("step", 0) >= step:
                    return event
            assert process.poll() is None, self.log()
            time.sleep(0.002)
        raise AssertionError(f"no event {name} at step {step}: {self.log()}")

    def events(self, name: str | None = None, file: str = "events.jsonl") -> list[dict[str, Any]]:
        path = self.path / file
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        found = [json.loads(line) for line in lines]
        return found if name is None else [event for event in found if event["event"] == name]

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics without what depends on the clock or the process."""
        clock = {"time", "tokens_per_s", "seconds_left", "memory_mib"}
        return [
            {key: value for key, value in event.items() if key not in clock}
            for event in self.events(file="train/metrics.jsonl")
        ]

    def proof(self) -> dict[str, Any]:
        return dict(json.loads((self.path / "train/proof.json").read_text()))

    def log(self) -> str:
        return (self.path / "train.log").read_text(errors="replace")[-4000:]

    def engine_pid(self) -> int:
        return int(self.proof()["pid"])

    def kill_engine(self) -> None:
        os.kill(self.engine_pid(), signal.SIGKILL)


QUIET = {
    "HF_HUB_OFFLINE": "1",
    "AXOLOTL_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",
}

MakeRun = Callable[..., Run]


@pytest.fixture(scope="session")
def ingredients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with model/ and data/."""
    pytest.importorskip("tokenizers", reason="needs the `train` extra")
    root = tmp_path_factory.mktemp("ingredients")
    rng = random.Random(0)
    (root / "data").mkdir()
    for name, rows in (("train", TRAIN_ROWS), ("validation", VALIDATION_ROWS)):
        lines = [json.dumps(_record(rng)) + "\n" for _ in range(rows)]
        (root / "data" / f"{name}.jsonl").write_text("".join(lines))
    vocabulary = _write_tokenizer(root / "model", (root / "data/train.jsonl").read_text())
    _write_model(root / "model", vocabulary)
    return root


@pytest.fixture(scope="session")
def make_run(ingredients: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Return a function that makes a run directory: LoRA for 22 steps, two epochs of 43 records.

    `make_run(config={...}, method={...}, expect={...}, settings={...})` changes single keys; a value of
    None removes a key of the config.
    """
    pytest.importorskip("axolotl", reason="needs the `train` extra")

    def make(
        config: dict[str, Any] | None = None,
        method: dict[str, Any] | None = None,
        runner: dict[str, Any] | None = None,
        expect: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Run:
        path = tmp_path_factory.mktemp("run")
        for name in ("data", "model"):
            (path / name).symlink_to(ingredients / name)
        (path / "config").mkdir()
        run = Run(path)
        plugin = {**RUNNER, "method": LORA_METHOD if method is None else method, **(runner or {})}
        changed = {**CONFIG, "runner": plugin, **(config or {})}
        run.write_config({key: value for key, value in changed.items() if value is not None})
        written = {**SETTINGS, "expect": {**EXPECT, **(expect or {})}, **settings}
        (path / "config/train.json").write_text(json.dumps(written))
        return run

    return make


@pytest.fixture(scope="session")
def uninterrupted(make_run: MakeRun) -> Run:
    """Return a LoRA run that was left alone."""
    run = make_run()
    assert run.train() == 0, run.log()
    return run


def _dataset(split: str) -> list[dict[str, Any]]:
    return [
        {
            "path": f"data/{split}.jsonl",
            "ds_type": "json",
            "split": "train",
            "type": "chat_template",
            "field_messages": "messages",
            "roles_to_train": ["assistant"],
            "train_on_eos": "turn",
        }
    ]


STEPS, ROWS = 22, 86  # 43 records in passes of 2: 22 passes, 11 steps an epoch
CONFIG: dict[str, Any] = {
    "base_model": "model",
    "chat_template": "jinja",
    "chat_template_jinja": TEMPLATE,
    "datasets": _dataset("train"),
    "test_datasets": _dataset("validation"),
    "val_set_size": 0,
    "dataset_prepared_path": "train/prepared",
    "output_dir": "train/checkpoints",
    "sequence_len": 64,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "eval_batch_size": 2,
    "num_epochs": 2,
    "max_steps": STEPS,
    "learning_rate": 1e-2,
    "lr_scheduler": "cosine",
    "warmup_steps": 3,
    "optimizer": "adamw_torch",
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "bf16": False,
    "fp16": False,
    "tf32": False,
    "attn_implementation": "sdpa",
    "gradient_checkpointing": False,
    "seed": 42,
    "dataloader_num_workers": 0,
    "dataloader_pin_memory": False,
    "dataset_num_proc": 1,
    "logging_steps": 3,
    "eval_steps": 8,
    "save_steps": 5,
    "save_total_limit": 3,
    "include_tkps": False,
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "lora_target_modules": PATTERN,
    "lora_mlp_kernel": False,
    "lora_qkv_kernel": False,
    "lora_o_kernel": False,
    "lora_embedding_kernel": False,
    "plugins": ["runner.axolotl_plugin.RunnerPlugin"],
}
FULL: dict[str, Any] = {name: None for name in CONFIG if name.startswith("lora_") or name == "adapter"}
LORA_METHOD: dict[str, Any] = {
    "name": "lora",
    "rank": 4,
    "pattern": PATTERN,
    "groups": {
        "language.attention": r"model\.layers\.\d+\.self_attn\.(q|v)_proj",
        "language.mlp": r"model\.layers\.\d+\.mlp\.up_proj",
    },
}
RUNNER: dict[str, Any] = {
    "events": "events.jsonl",
    "metrics": "train/metrics.jsonl",
    "proof": "train/proof.json",
    "steps": STEPS,
    "log_every": 3,
}
EXPECT: dict[str, Any] = {
    "steps": STEPS,
    "rows": ROWS,
    "world_size": 1,
    "distributed": "none",
    "early_stopping": False,
    "keep_best": False,
}
SETTINGS: dict[str, Any] = {
    "config": "config/axolotl.yaml",
    "rows": {},
    "device": "cpu",
    "adapter": True,
}


@pytest.fixture(scope="session")
def full() -> dict[str, Any]:
    """Return the changes to the config that train every weight instead of adapters."""
    return dict(FULL)


def _record(rng: random.Random) -> dict[str, Any]:
    question = "What " + " ".join(rng.choices(WORDS, k=rng.randint(3, 8))) + "?"
    answer = " ".join(rng.choices(WORDS, k=rng.randint(4, 14))) + "."
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages}


def _write_tokenizer(folder: Path, text: str) -> int:
    """Write a byte-level BPE tokenizer and return its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "pad_token": "<pad>",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "model_max_length": 128,
            }
        )
    )
    return int(tokenizer.get_vocab_size())


def _write_model(folder: Path, vocabulary: int) -> None:
    """Write a random Llama of two layers in the hub's format."""
    from safetensors.numpy import save_file

    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": MIDDLE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS // 2,
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    narrow = HIDDEN // 2
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (vocabulary, HIDDEN),
    }
    for layer in range(LAYERS):
        inner = {
            "self_attn.q_proj": (HIDDEN, HIDDEN),
            "self_attn.k_proj": (narrow, HIDDEN),
            "self_attn.v_proj": (narrow, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HIDDEN),
            "mlp.gate_proj": (MIDDLE, HIDDEN),
            "mlp.up_proj": (MIDDLE, HIDDEN),
            "mlp.down_proj": (HIDDEN, MIDDLE),
            "input_layernorm": (HIDDEN,),
            "post_attention_layernorm": (HIDDEN,),
        }
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in inner.items()}
    rng = np.random.default_rng(0)
    weights = {
        name: np.ones(shape, np.float32) if len(shape) == 1 else rng.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
