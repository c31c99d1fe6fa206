"""Small models: the names of the full size, the family's special tokens, the same bytes every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest

from runner.events import EventWriter, read_events
from runner.files import tree_sha256
from runner.spec.problems import DataError, MachineError
from runner.stages.tiny_model import build_model

torch = pytest.importorskip("torch", reason="needs the train extra")
transformers = pytest.importorskip("transformers", reason="needs the train extra")
Image = pytest.importorskip("PIL.Image", reason="needs the train extra")

from runner.tiny import architectures, tokenizer  # noqa: E402  # after the skips above

# The engines warn about their own parts; a warning of ours stays an error.
pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:(torch|transformers|peft|accelerate|huggingface_hub)"
)

TABLE = ("llama", "gpt2", "gemma3_text", "gemma3", "qwen2", "qwen3", "mistral")
OTHERS = ("gpt_neox", "phi3", "opt", "mixtral", "olmo2", "falcon")

TEXTS = tuple(
    f"What are the symptoms of disease {number} ? Fever of {37 + number % 5} °C, naïve cells and pain."
    for number in range(60)
)


def record(number: int, split: str = "train") -> dict[str, Any]:
    question, answer = TEXTS[number % len(TEXTS)].split(" ? ")
    return {
        "id": f"{split}-{number}",
        "messages": [{"role": "user", "content": f"{question} ?"}, {"role": "assistant", "content": answer}],
        "group": f"g{number % 7}",
        "question": question,
        "focus": None,
        "source": "test",
    }


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    for split, records in (("train", 60), ("validation", 8), ("test", 8)):
        lines = [json.dumps(record(number, split)) for number in range(records)]
        (tmp_path / "data" / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def build(run_dir: Path) -> Callable[..., Path]:
    """Return a function that runs the stage with changed settings and returns `model/`."""

    def run(**changes: Any) -> Path:
        settings = {
            "architecture": "llama",
            "tokenizer": None,
            "context": 64,
            "template": "question_answer",
            "seed": 3,
            "patterns": [],
            "end_tokens": [],
            "images": False,
        }
        build_model(settings | changes, EventWriter(run_dir / "events.jsonl", "tiny_model"))
        return run_dir / "model"

    return run


def load(folder: Path) -> tuple[Any, Any]:
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    return loaded, transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize("architecture", [*TABLE, *OTHERS])
def test_an_architecture_builds_loads_and_learns(build: Callable[..., Path], architecture: str) -> None:
    folder = build(architecture=architecture)
    assert (folder / "model.safetensors").is_file()
    model, words = load(folder)
    full = architectures.names_at_full_size(architecture)
    assert architectures.masked(architectures.names_of(model)) == architectures.masked(full)
    assert len(full) > len(architectures.names_of(model))
    assert sum(weight.numel() for weight in model.parameters()) < 2_000_000
    assert model.get_input_embeddings().num_embeddings == len(words)
    batch = words(TEXTS[0], return_tensors="pt")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        loss = model(**batch, labels=batch["input_ids"]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[2] < losses[0]


@pytest.mark.parametrize("architecture", TABLE)
def test_special_tokens_are_those_of_the_family(build: Callable[..., Path], architecture: str) -> None:
    specials = tokenizer.SPECIALS[architecture]
    model, words = load(build(architecture=architecture))
    assert [words.convert_tokens_to_ids(token) for token in specials.tokens] == list(
        range(len(specials.tokens))
    )
    assert (words.bos_token, words.eos_token, words.pad_token) == (specials.bos, specials.eos, specials.pad)
    config = model.config.get_text_config()
    assert (config.bos_token_id, config.eos_token_id) == (words.bos_token_id, words.eos_token_id)
    for text in ("  What\n\nnaïve 😀 café  ", "".join(map(chr, range(32, 1000)))):
        ids = words(text, add_special_tokens=False)["input_ids"]
        assert words.decode(ids) == (normalize("NFC", text) if specials.normal_form else text)


@pytest.mark.parametrize("architecture", sorted(tokenizer.SPECIALS))
def test_a_tokenizer_is_loaded_as_it_was_trained(tmp_path: Path, architecture: str) -> None:
    """Transformers may read a tokenizer by rules of the model's family, not by its file."""
    words, _ = tokenizer.train(TEXTS, architecture, "question_answer")
    words.save_pretrained(tmp_path)
    architectures.default_config(architecture).save_pretrained(tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    for text in (*TEXTS[:3], "  12345 mg/dL\n\n e\u0301 😀 don't "):
        assert loaded(text)["input_ids"] == words(text)["input_ids"]
        assert loaded(text, add_special_tokens=False)["input_ids"] == words(text)["input_ids"]


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Q1"},
    {"role": "assistant", "content": "A1"},
]


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        (
            "llama",
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nQ1<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nA1<|eot_id|>",
        ),
        (
            "gemma3_text",
            "<bos><start_of_turn>user\nBe brief.\n\nQ1<end_of_turn>\n<start_of_turn>model\nA1<end_of_turn>\n",
        ),
        (
            "qwen2",
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQ1<|im_end|>\n"
            "<|im_start|>assistant\nA1<|im_end|>\n",
        ),
        (
            "qwen3",
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQ1<|im_end|>\n"
            "<|im_start|>assistant\n<think>\n\n</think>\n\nA1<|im_end|>\n",
        ),
        ("mistral", "<s>[INST] Be brief.\n\nQ1 [/INST] A1</s>"),
        ("phi3", "<|system|>\nBe brief.<|end|>\n<|user|>\nQ1<|end|>\n<|assistant|>\nA1<|end|>\n"),
    ],
)
def test_the_tokenizers_own_template(architecture: str, text: str) -> None:
    words, _ = tokenizer.train(TEXTS, architecture, "tokenizer")
    assert words.apply_chat_template(CHAT, tokenize=False) == text


def test_llama_3_2_vision_has_an_image_token_outside_its_classes_and_open_gates(
    build: Callable[..., Path],
) -> None:
    """As published: the image token is the last, and one above what the output layer can say."""
    folder = build(architecture="mllama", template="llama3_2_vision", end_tokens=["<|eot_id|>"], context=128)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    words = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    specials = tokenizer.SPECIALS["mllama"]
    assert [words.convert_tokens_to_ids(token) for token in specials.tokens] == list(range(8))
    image = words.convert_tokens_to_ids(tokenizer.MLLAMA_IMAGE)
    assert image == len(words) - 1 == model.config.image_token_index == model.lm_head.weight.shape[0]
    assert model.get_input_embeddings().num_embeddings == image + 8
    full = architectures.names_at_full_size("mllama")
    assert architectures.masked(architectures.names_of(model)) == architectures.masked(full)
    assert model.config.text_config.cross_attention_layers == [3]
    gates = [weight for name, weight in model.named_parameters() if name.endswith("gate")]
    assert len(gates) == 2 + 3  # of the layer that looks at the image, of the three embeddings
    assert all(float(gate.detach()) == architectures.GATE for gate in gates)


@pytest.mark.parametrize(("architecture", "template"), [("gemma3", "gemma3"), ("mllama", "llama3_2_vision")])
def test_what_is_seen_changes_what_is_said(
    build: Callable[..., Path], architecture: str, template: str, tmp_path: Path
) -> None:
    """Another page, another loss: the small model's image reaches its text."""
    folder = build(architecture=architecture, template=template, context=128)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    said = []
    for colour in ("white", "black"):
        Image.new("RGB", (300, 200), colour).save(tmp_path / f"{colour}.png")
        parts = [
            {"type": "image", "path": str(tmp_path / f"{colour}.png")},
            {"type": "text", "text": "What?"},
        ]
        batch = processor.apply_chat_template(
            [[{"role": "user", "content": parts}]], tokenize=True, return_dict=True, return_tensors="pt"
        )
        with torch.no_grad():
            said.append(model(**batch).logits[0, -1])
    assert float((said[0] - said[1]).abs().max()) > 1e-4


def test_a_tokenizer_without_an_image_token_is_refused(build: Callable[..., Path], run_dir: Path) -> None:
    words, _ = tokenizer.train(TEXTS, "llama", "llama3")
    words.save_pretrained(run_dir / "words")
    with pytest.raises(MachineError, match=r"no image token <\|image\|>, which an mllama needs"):
        build(architecture="mllama", template="llama3_2_vision", tokenizer=str(run_dir / "words"))


def test_a_family_without_a_template_has_none(build: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="comes without a chat template"):
        build(architecture="gpt2", template="tokenizer")


def test_markers_of_a_template_are_single_tokens(build: Callable[..., Path], run_dir: Path) -> None:
    _, words = load(build(architecture="llama", template="chatml", end_tokens=["<|im_end|>"]))
    assert len(words.encode("<|im_end|>", add_special_tokens=False)) == 1
    (note,) = [event["text"] for event in read_events(run_dir / "events.jsonl") if event["event"] == "note"]
    assert "<|im_start|>, <|im_end|> added" in note


def test_the_same_settings_give_the_same_bytes(build: Callable[..., Path]) -> None:
    state = torch.random.get_rng_state()
    first = tree_sha256(build())
    assert tree_sha256(build()) == first
    assert tree_sha256(build(seed=4)) != first
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_pattern_that_names_a_late_layer_gets_it(build: Callable[..., Path]) -> None:
    model, _ = load(build(patterns=[r"model\.layers\.(3|6)\.mlp\.up_proj", r"lm_head"]))
    assert model.config.num_hidden_layers == 7


def test_a_pattern_for_any_layer_asks_for_none_in_particular(build: Callable[..., Path]) -> None:
    model, _ = load(build(patterns=[r"model\.layers\.\d+\.mlp\.up_proj", r"nothing\.of\.this"]))
    assert model.config.num_hidden_layers == architectures.LAYERS


def test_gemmas_two_kinds_of_layer_are_there(build: Callable[..., Path]) -> None:
    model, _ = load(build(architecture="gemma3_text"))
    assert model.config.layer_types == ["sliding_attention", "full_attention"]


@pytest.mark.realdata
@pytest.mark.parametrize("names", [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")])
def test_gpt2s_real_tokenizer(
    build: Callable[..., Path], real_data: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    """Ids as published with the files (SOURCE.md)."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name, old in zip(names, ("encoder.json", "vocab.bpe"), strict=True):
        (folder / name).write_bytes((real_data / "tokenizers" / "gpt2" / old).read_bytes())
    model, words = load(build(architecture="gpt2", tokenizer=str(folder)))
    ids = words("What are the symptoms of Hypertrophic cardiomyopathy ?")["input_ids"]
    assert ids == [2061, 389, 262, 7460, 286, 6707, 11766, 18191, 2657, 72, 9145, 27189, 5633]
    assert words.eos_token_id == 50256
    assert model.config.vocab_size == len(words) == 50257


@pytest.mark.realdata
def test_a_bare_tokenizer_json_gets_its_end_token(build: Callable[..., Path], real_data: Path) -> None:
    folder = str(real_data / "tokenizers" / "gpt_neox_20b")
    model, words = load(build(architecture="gpt_neox", tokenizer=folder))
    assert (words.eos_token, words.eos_token_id) == ("<|endoftext|>", 0)
    assert model.config.eos_token_id == 0


def test_a_model_that_sees_gets_its_processor_which_the_engine_loads_for_text_too(
    build: Callable[..., Path],
) -> None:
    """A 64 px image is 16 patches of 16 px, pooled to the 4 tokens that the text makes room for."""
    folder = build(architecture="gemma3", template="tokenizer", end_tokens=["<end_of_turn>"])
    model, _ = load(folder)
    processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    image = Image.fromarray(np.full((80, 100, 3), 200, dtype=np.uint8))
    inputs = processor(text="<start_of_image> What is this?", images=image, return_tensors="pt")
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 4
    assert inputs["pixel_values"].shape == (1, 3, 64, 64)
    assert torch.isfinite(model(**inputs).logits).all()


def test_a_tokenizer_without_image_tokens_does_not_go_with_a_model_that_sees(
    build: Callable[..., Path], tmp_path: Path
) -> None:
    words, _ = tokenizer.train(TEXTS, "gemma3_text", "tokenizer")
    words.save_pretrained(tmp_path / "words")
    with pytest.raises(MachineError, match="has no image tokens"):
        build(architecture="gemma3", tokenizer=str(tmp_path / "words"))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("lama", r"knows no model_type 'lama'\n  nearest: llama"),
        ("llava", "not a causal language model; its language part is 'llama'"),
        ("gemma3n_text", r"no small gemma3n_text can be built: .*\n  fields set on .*: hidden_size=64"),
    ],
)
def test_what_cannot_be_built_is_said(build: Callable[..., Path], architecture: str, message: str) -> None:
    with pytest.raises(MachineError, match=message):
        build(architecture=architecture)


def test_a_tokenizer_that_a_variable_names_is_found_but_not_written(
    build: Callable[..., Path], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, _ = tokenizer.train(TEXTS, "llama", "question_answer")
    words.save_pretrained(run_dir / "user" / "private")
    monkeypatch.setenv("RUNNER_CWD", str(run_dir / "user"))
    monkeypatch.setenv("MINE", "./private")
    _, loaded = load(build(tokenizer="${env:MINE}"))
    assert len(loaded) == len(words)
    for file in ("events.jsonl", "data/tokens.json"):
        assert "private" not in (run_dir / file).read_text(encoding="utf-8")
    assert "tokenizer of ${env:MINE}" in (run_dir / "events.jsonl").read_text(encoding="utf-8")


FULL_DISK = """
import resource, sys
import torch, transformers
from runner.stages import tiny_model
from runner.tiny import architectures, tokenizer
real = tiny_model._save
def save(*parts):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop()),) * 2)
    real(*parts)
tiny_model._save = save
tiny_model.stage_main("tiny_model", tiny_model.build_model)
"""


@pytest.mark.parametrize(("room", "fails"), [(50_000, "model.safetensors"), (400, "config.json")])
def test_a_full_disk_leaves_no_half_written_model(run_dir: Path, room: int, fails: str) -> None:
    """A limit on the size of files fails the write as a full disk does, in the middle of it."""
    full = stage(run_dir, "-c", FULL_DISK, str(room))
    assert full.returncode == 3, (fails, full.stderr)
    assert f"cannot write {run_dir / 'model'}: " in full.stderr
    assert "File too large" in full.stderr
    assert "Traceback" not in full.stderr
    assert not list(run_dir.glob("*model*"))
    assert not list(run_dir.glob(".*model*"))


def test_a_full_disk_at_the_tokenizer(run_dir: Path) -> None:
    """The weights fit; `tokenizer.json` does not."""
    words, _ = tokenizer.train(TEXTS, "llama", "question_answer")
    words.add_tokens([f"<added-{number}>" for number in range(6000)])
    words.save_pretrained(run_dir / "given")
    size = (run_dir / "given" / "tokenizer.json").stat().st_size
    full = stage(run_dir, "-c", TOKENIZER_FAILS, str(size - 1000), tokenizer=str(run_dir / "given"))
    assert full.returncode == 3, full.stderr
    assert f"cannot write {run_dir / 'model'}: " in full.stderr
    assert "Traceback" not in full.stderr
    assert not list(run_dir.glob(".*model*"))


TOKENIZER_FAILS = FULL_DISK.replace(
    "    resource", "    parts[0].save_pretrained = lambda folder: None  # would be larger\n    resource"
)


def stage(run_dir: Path, *program: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    settings = {"architecture": "llama", "tokenizer": None, "context": 64, "template": "question_answer",
                "seed": 3, "patterns": [], "end_tokens": [], "images": False}  # fmt: skip
    (run_dir / "config").mkdir(exist_ok=True)
    (run_dir / "config" / "tiny_model.json").write_text(json.dumps(settings | changes), encoding="utf-8")
    code, *words = program[1:]
    return subprocess.run(
        [sys.executable, "-c", code, "tiny_model", *words],
        cwd=run_dir,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_tokenizer_that_is_not_there_is_named(build: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"no tokenizer can be loaded from '.*nowhere'"):
        build(tokenizer=str(tmp_path / "nowhere"))


def test_without_records_there_is_nothing_to_learn_words_from(
    build: Callable[..., Path], run_dir: Path
) -> None:
    (run_dir / "data" / "train.jsonl").unlink()
    with pytest.raises(DataError, match=r"there is no data/train\.jsonl"):
        build()
