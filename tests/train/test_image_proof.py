"""What the engine's own collator makes of rows with images, compared with ours; and each way in which they could differ."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from converters.image_rows import to_row
from runner.image_proof import INSPECTED, Inspected, inspect
from runner.spec.problems import StageError

pytestmark = pytest.mark.axolotl

TEMPLATES = {"gemma3": "gemma3", "mllama": "llama3_2_vision"}
ENDS = {"gemma3": ["<end_of_turn>"], "mllama": ["<|eot_id|>"]}
QUIET = {"HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1"}
Looked = Callable[..., Inspected]


@pytest.fixture(scope="module")
def engine() -> Iterator[None]:
    """Import the engine, which warns of its own parts."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in QUIET.items():
            patch.setenv(name, os.environ.get(name, value))
        pytest.importorskip("axolotl.processing_strategies", reason="needs the `train` extra")
        pytest.importorskip("axolotl.utils.collators.mm_chat", reason="needs the `train` extra")
        yield


@pytest.fixture(scope="module")
def processors(engine: None) -> dict[str, Any]:
    from runner.tiny.architectures import build
    from runner.tiny.processor import processor_of
    from runner.tiny.tokenizer import train

    made = {}
    texts = [message["content"] for row in RECORDS for message in row["messages"]] * 3
    for architecture, template in TEMPLATES.items():
        words, _ = train(texts, architecture, template)
        made[architecture] = processor_of(build(architecture, words, 128, 1), words)
    return made


def _turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]


RECORDS: tuple[dict[str, Any], ...] = (
    {"messages": _turns("What does it show?", "Sinus rhythm.")},
    {"messages": _turns("Rate?\n", "60 per minute.\n\nThat is usual.", "And the axis?", "  Normal axis.")},
    {"messages": _turns("Is it 5 < 6 mV — or µV?", "No: `½ mV` at most; user\nmodel\n")},
)
"""Also two questions about one page, blanks at the ends, signs and marks' own words."""


@pytest.fixture
def looked(processors: dict[str, Any], tmp_path: Path) -> Looked:
    """Return a function that inspects rows with the engine's collator, set up as the engine does."""
    from PIL import Image

    page = tmp_path / "page.png"
    Image.new("RGB", (330, 255), "white").save(page)

    def look(
        architecture: str,
        records: tuple[dict[str, Any], ...] = RECORDS,
        classes: int = 10_000,
        name: str | None = None,
        **options: Any,
    ) -> Inspected:
        from axolotl.processing_strategies import get_processing_strategy
        from axolotl.utils.chat_templates import get_chat_template
        from axolotl.utils.collators.mm_chat import MultiModalChatDataCollator

        processor = processors[architecture]
        template = TEMPLATES[architecture]
        strategy = get_processing_strategy(
            processor,
            get_chat_template(template),
            name or template,
            train_on_inputs=options.get("train_on_inputs", False),
            roles_to_train=["assistant"],
            train_on_eos=options.get("train_on_eos", "turn"),
        )
        collator = MultiModalChatDataCollator(processor.tokenizer, strategy)
        rows = [to_row({"images": [str(page)], **record}) for record in records]
        return inspect(rows, collator, ENDS[architecture], classes, "train")

    return look


@pytest.mark.parametrize("architecture", TEMPLATES)
def test_the_engine_and_the_evaluation_make_the_same_of_a_record(architecture: str, looked: Looked) -> None:
    seen = looked(architecture)
    assert seen.rows == len(RECORDS)
    assert 0 < seen.label_tokens < seen.tokens
    assert len(seen.first["input_ids"]) == len(seen.first["labels"])
    assert looked(architecture, RECORDS * 4).rows == INSPECTED


@pytest.mark.parametrize("architecture", TEMPLATES)
def test_a_question_that_carries_loss_is_found(architecture: str, looked: Looked) -> None:
    with pytest.raises(
        StageError, match="train row 0: the engine makes other labels of it than the evaluation"
    ):
        looked(architecture, train_on_inputs=True)


@pytest.mark.parametrize("architecture", TEMPLATES)
def test_an_end_that_is_not_learned_is_found(architecture: str, looked: Looked) -> None:
    """A model that never learns to stop writes on until it is cut."""
    with pytest.raises(StageError, match="makes other labels"):
        looked(architecture, train_on_eos="none")


@pytest.mark.parametrize("architecture", TEMPLATES)
def test_masking_chosen_by_another_name_is_found(architecture: str, looked: Looked) -> None:
    """The engine knows no marks of turns by this name, and would take every token for an answer."""
    with pytest.raises(StageError, match="makes other labels"):
        looked(architecture, name="tokenizer_default")


def test_a_label_that_the_model_cannot_say_is_found(looked: Looked) -> None:
    with pytest.raises(
        StageError, match="carries loss, and is none of the 9 tokens that the model can write"
    ):
        looked("mllama", classes=9)


def test_an_answer_of_nothing_is_found(looked: Looked) -> None:
    silent = ({"messages": _turns("What does it show?")},)
    with pytest.raises(StageError, match="train row 0: no token carries loss"):
        looked("gemma3", silent)
