"""Records with images as tokens: the place of the image, what carries loss, and what is longer than the context."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.image_text import ImageText, image_text_of, load_processor
from runner.spec.problems import DataError, MachineError
from runner.token_audit import audit
from runner.tokens import IGNORED, prompt_text, rows_of, template_of

pytest.importorskip("transformers", reason="needs the train extra")
pytest.importorskip("axolotl", reason="needs the train extra")
from runner.tiny.architectures import build  # after the skips above
from runner.tiny.processor import processor_of
from runner.tiny.tokenizer import train

pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:(torch|transformers|peft|accelerate|huggingface_hub)"
)

QUESTION, ANSWER = "What does this page show?", "Sinus rhythm, 60 per minute."
TEMPLATES = {"gemma3": "gemma3", "mllama": "llama3_2_vision"}
WHOLE = 10_000


def record(**changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    return {"id": "r", "group": "g", "messages": messages, "images": ["/pages/1.png"], **changes}


@pytest.fixture(scope="module")
def processors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Architecture -> a small processor, as it is loaded from its folder."""
    made = {}
    for architecture, template in TEMPLATES.items():
        words, _ = train([QUESTION, ANSWER] * 9, architecture, template)
        folder = tmp_path_factory.mktemp(architecture)
        processor_of(build(architecture, words, 128, 1), words).save_pretrained(folder)
        made[architecture] = load_processor(str(folder))
    return made


@pytest.fixture
def rows(processors: dict[str, Any]) -> Callable[..., Any]:
    """Return a function that gives the row of a record."""

    def row_of(architecture: str, one: dict[str, Any], end: str) -> Any:
        processor = processors[architecture]
        jinja = template_of(processor.tokenizer, TEMPLATES[architecture])
        (row,) = rows_of(processor.tokenizer, [one], jinja, WHOLE, [end], image_text_of(processor))
        return row

    return row_of


def said(processor: Any, row: Any) -> str:
    return str(processor.tokenizer.decode([label for label in row.labels if label != IGNORED]))


def test_gemmas_image_takes_its_tokens_and_the_answer_carries_loss(
    processors: dict[str, Any], rows: Callable[..., Any]
) -> None:
    """Two empty lines, the start, four places (256 at full size), the end, two empty lines."""
    processor = processors["gemma3"]
    row = rows("gemma3", record(), "<end_of_turn>")
    text = processor.tokenizer.decode(row.input_ids)
    image = "\n\n<start_of_image>" + "<image_soft_token>" * 4 + "<end_of_image>\n\n"
    assert text == (
        f"<bos><start_of_turn>user\n{image}{QUESTION}<end_of_turn>\n<start_of_turn>model\n{ANSWER}<end_of_turn>\n"
    )
    assert said(processor, row) == f"{ANSWER}<end_of_turn>"


def test_llamas_image_takes_one_token(processors: dict[str, Any], rows: Callable[..., Any]) -> None:
    processor = processors["mllama"]
    row = rows("mllama", record(), "<|eot_id|>")
    image = processor.tokenizer.convert_tokens_to_ids("<|image|>")
    assert row.input_ids.count(image) == 1
    assert row.labels[row.input_ids.index(image)] == IGNORED
    assert said(processor, row) == f"{ANSWER}<|eot_id|>"
    assert rows("mllama", record(images=["/a.png", "/b.png"]), "<|eot_id|>").input_ids.count(image) == 2


@pytest.mark.parametrize("architecture", TEMPLATES)
def test_a_prompt_ends_where_the_answer_begins(architecture: str, processors: dict[str, Any]) -> None:
    processor = processors[architecture]
    written = image_text_of(processor)
    jinja = template_of(processor.tokenizer, TEMPLATES[architecture])
    prompt = prompt_text(processor.tokenizer, record(), jinja, written)
    assert written.written in prompt
    assert ANSWER not in prompt
    assert prompt.endswith(("<start_of_turn>model\n", "<|start_header_id|>assistant<|end_header_id|>\n\n"))


def test_llama_refuses_a_system_message_beside_an_image(rows: Callable[..., Any]) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *record()["messages"]]
    with pytest.raises(
        DataError, match="refuses record 'r': Prompting with images is incompatible with system"
    ):
        rows("mllama", record(messages=messages), "<|eot_id|>")
    assert "Be brief." not in said_of(rows("gemma3", record(messages=messages), "<end_of_turn>"))


def said_of(row: Any) -> list[int]:
    return [label for label in row.labels if label != IGNORED]


def test_an_image_of_unknown_length_is_refused() -> None:
    class Gemma3Processor(SimpleNamespace):
        pass

    cropping = Gemma3Processor(image_processor=SimpleNamespace(do_pan_and_scan=True))
    with pytest.raises(MachineError, match="do_pan_and_scan: false"):
        image_text_of(cropping)
    with pytest.raises(MachineError, match="a SimpleNamespace writes an image"):
        image_text_of(SimpleNamespace())
    assert ImageText("<a>", "<a><b>").expanded("x<a>y<a>") == "x<a><b>y<a><b>"


def test_a_folder_without_a_processor_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no processor of images can be loaded from"):
        load_processor(str(tmp_path))


def test_records_with_images_are_never_cut(
    processors: dict[str, Any], tmp_path: Path, rows: Callable[..., Any]
) -> None:
    """A row as long as the context passes; one token less of context, and it is refused, or only counted."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(json.dumps(record()) + "\n")
    processors["gemma3"].save_pretrained(tmp_path / "model")
    length = len(rows("gemma3", record(), "<end_of_turn>").input_ids)
    fits = audit("model", "gemma3", length, tmp_path, end_tokens=["<end_of_turn>"], images="whole")
    assert fits["splits"]["train"]["longer_than_context"]["records"] == 0
    with pytest.raises(
        DataError, match=f"longer than model.context of {length - 1} tokens: 1 of train; .* {length}"
    ):
        audit("model", "gemma3", length - 1, tmp_path, images="whole")
    counted = audit("model", "gemma3", length - 1, tmp_path, images="may_be_longer")
    train_split = counted["splits"]["train"]
    assert (train_split["longer_than_context"]["records"], train_split["kept_tokens"]) == (1, length)
