"""Code that others put into chat templates and model folders does not run unless the spec says so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from runner.spec.problems import DataError, MachineError

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("transformers", reason="needs the train extra")

from runner.image_text import load_processor  # noqa: E402  # after the skips above
from runner.judging.model import load_model  # noqa: E402
from runner.tiny import architectures, tokenizer  # noqa: E402
from runner.tokens import load_tokenizer, rows_of, template_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::Warning:(torch|transformers|huggingface_hub)")

MESSAGES = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "Yes."}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model and its tokenizer, as somebody else may have written them."""
    words, _ = tokenizer.train(["Is it?", "Yes.", "Fever and pain."] * 20, "llama", "question_answer")
    architectures.build("llama", words, 64, seed=1).save_pretrained(tmp_path / "model")
    words.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def changed(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def loaded(folder: Path) -> Any:
    return load_model(
        {
            "model": str(folder), "revision": None, "device": "cpu", "precision": "fp32", "attention": "sdpa",
            "images": False, "trust_remote_code": False,
        }
    )  # fmt: skip


@pytest.mark.parametrize("dunder", ["__", r"\x5f\x5f"])
def test_a_chat_template_reaches_nothing(folder: Path, dunder: str) -> None:
    ran = folder.parent / "ran"
    attack = (
        f"{{{{ cycler['{dunder}init{dunder}']['{dunder}globals{dunder}']['os']['system']('touch {ran}') }}}}"
    )
    (folder / "chat_template.jinja").write_text(attack)
    theirs = load_tokenizer(str(folder))
    template = template_of(theirs, "tokenizer")
    assert template == attack
    with pytest.raises(DataError, match=r"unsafe|undefined"):
        list(rows_of(theirs, [{"id": "r", "messages": MESSAGES}], template, 64))
    assert not ran.exists()


def test_a_model_folder_brings_no_code(folder: Path) -> None:
    ran = folder.parent / "ran"
    (folder / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(ran)!r}).touch()\nC = M = T = P = object\n"
    )
    changed(
        folder / "config.json",
        model_type="theirs",
        auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"},
    )
    changed(
        folder / "tokenizer_config.json",
        tokenizer_class="Theirs",
        auto_map={"AutoTokenizer": ["evil.T", None]},
    )
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).write_text(
            json.dumps({"processor_class": "Theirs", "auto_map": {"AutoProcessor": "evil.P"}})
        )
    with pytest.raises(MachineError, match="cannot be loaded"):
        loaded(folder)
    with pytest.raises(MachineError, match="no tokenizer can be loaded"):
        load_tokenizer(str(folder))
    with pytest.raises(MachineError, match="no processor of images can be loaded"):
        load_processor(str(folder))
    assert not ran.exists()


def test_weights_are_numbers_and_no_program(folder: Path) -> None:
    """`pytorch_model.bin` is a pickle, which runs what it names when it is read as such."""
    ran = folder.parent / "ran"

    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {ran}",)

    for file in folder.glob("*.safetensors"):
        file.unlink()
    torch.save({"x": Runs()}, folder / "pytorch_model.bin")
    with pytest.raises(MachineError, match="cannot be loaded: Weights only load failed"):
        loaded(folder)
    assert not ran.exists()


def test_damaged_weights_are_one_line(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        file.write_bytes(b"\xff" * 100)
    with pytest.raises(MachineError, match="cannot be loaded"):
        loaded(folder)
