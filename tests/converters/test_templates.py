"""Chat templates: what is rendered, and which tokens Axolotl gives a loss, on real tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from converters.axolotl import to_axolotl
from converters.numbers import numbers_of, stated_counts
from converters.templates import TEMPLATES, end_of_turn, jinja_of, template_keys
from runner.spec.model import LlmSpec
from runner.spec.sources import DataCommon
from runner.spec.vlm_sources import VlmDataCommon

MakeSpec = Callable[..., LlmSpec]

SYSTEM = {"role": "system", "content": "You answer medical questions."}
QUESTION = {"role": "user", "content": "What treats scurvy?"}
ANSWER = {"role": "assistant", "content": "Vitamin C does. It is found in:\n\n- oranges,\n- lemons (é, 🍋)."}
SECOND = {"role": "user", "content": "How much?"}
REPLY = {"role": "assistant", "content": "10 mg a day."}

CONVERSATIONS = {
    "one turn": [QUESTION, ANSWER],
    "with a system message": [SYSTEM, QUESTION, ANSWER],
    "two turns": [QUESTION, ANSWER, SECOND, REPLY],
    "the same words asked and answered": [QUESTION, {**QUESTION, "role": "assistant"}],
}


@pytest.fixture
def gpt2(engine: None, real_data: Path) -> Any:
    """Return the real tokenizer of GPT-2."""
    from runner.tokens import load_tokenizer

    return load_tokenizer(str(real_data / "tokenizers" / "gpt2"))


@pytest.fixture
def labels_of(engine: None, make_spec: MakeSpec) -> Callable[..., list[dict[str, list[int]]]]:
    """Return Axolotl's own tokenising of records, with the data set entry that we write."""
    from axolotl.prompt_strategies.chat_template import load
    from axolotl.utils.dict import DictDefault

    def labels(tokenizer: Any, template: str, conversations: Any, architecture: str = "llama") -> Any:
        spec = make_spec({"data.template": template, "model.architecture": architecture})
        config = to_axolotl(spec, numbers_of(spec, stated_counts(spec)))
        strategy = load(tokenizer, DictDefault(config), config["datasets"][0])
        return [strategy.tokenize_prompt({"messages": messages}) for messages in conversations]

    return labels


def spoken(tokenizer: Any, row: dict[str, list[int]]) -> list[str]:
    """Return the runs of tokens that carry loss, as text."""
    runs: list[list[int]] = [[]]
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        assert label in (-100, token)
        if label == -100:
            runs.append([])
        else:
            runs[-1].append(token)
    return [tokenizer.decode(run) for run in runs if run]


# ------------------------------------------------------------------------------------------- the table


def test_every_word_of_the_spec_has_a_template() -> None:
    words = [get_args(cls.model_fields["template"].annotation) for cls in (DataCommon, VlmDataCommon)]
    assert {word for some in words for word in some} == TEMPLATES.keys()


@pytest.mark.axolotl
@pytest.mark.usefixtures("engine")
def test_axolotl_knows_every_template_by_its_name(make_spec: MakeSpec) -> None:
    from axolotl.utils.chat_templates import get_chat_template

    for name, template in TEMPLATES.items():
        if name != "tokenizer":
            assert get_chat_template(template.axolotl, jinja_template=template.jinja) == jinja_of(name)


def test_the_tokenizers_own_template_has_no_text() -> None:
    assert jinja_of("tokenizer") is None


def test_our_own_text_stands_in_the_config(make_spec: MakeSpec) -> None:
    assert template_keys(make_spec()) == {
        "chat_template": "jinja",
        "chat_template_jinja": jinja_of("question_answer"),
    }


@pytest.mark.parametrize(
    ("template", "architecture", "enders"),
    [
        ("question_answer", "gemma3_text", ()),
        ("tokenizer", "llama", ()),
        ("tokenizer", "gemma3_text", ("<end_of_turn>",)),
        ("gemma3", "gemma3_text", ("<end_of_turn>",)),
        ("llama3", "llama", ("<|eot_id|>",)),
        ("qwen3", "qwen3", ("<|im_end|>",)),
    ],
)
def test_the_token_that_ends_a_turn(
    template: str, architecture: str, enders: tuple[str, ...], make_spec: MakeSpec
) -> None:
    spec = make_spec({"data.template": template, "model.architecture": architecture})
    assert end_of_turn(spec) == enders


# --------------------------------------------------------------------------------------- question_answer


def test_question_answer_as_text(gpt2: Any) -> None:
    text = gpt2.apply_chat_template(
        [SYSTEM, QUESTION, REPLY, SECOND, REPLY], chat_template=jinja_of("question_answer"), tokenize=False
    )
    assert text == (
        "<|endoftext|>You answer medical questions.\n\n"
        "Question: What treats scurvy?\nAnswer: 10 mg a day.<|endoftext|>\n\n"
        "Question: How much?\nAnswer: 10 mg a day.<|endoftext|>"
    )


def test_the_prompt_for_an_answer_is_the_beginning_of_the_training_row(gpt2: Any) -> None:
    """Token for token: what the model sees before it answers is what it saw in training."""
    jinja = jinja_of("question_answer")
    for messages in CONVERSATIONS.values():
        whole = gpt2.apply_chat_template(messages, chat_template=jinja, return_dict=False)
        prompt = gpt2.apply_chat_template(
            messages[:-1], chat_template=jinja, add_generation_prompt=True, return_dict=False
        )
        assert whole[: len(prompt)] == prompt


def test_a_tokenizer_without_an_end_token_is_refused(gpt2: Any) -> None:
    from jinja2.exceptions import TemplateError

    gpt2.eos_token = None
    with pytest.raises(TemplateError, match="the tokenizer has no end token"):
        gpt2.apply_chat_template([QUESTION, ANSWER], chat_template=jinja_of("question_answer"))


def test_an_unknown_role_is_refused(gpt2: Any) -> None:
    from jinja2.exceptions import TemplateError

    with pytest.raises(TemplateError, match="unknown role tool"):
        gpt2.apply_chat_template(
            [{"role": "tool", "content": "x"}], chat_template=jinja_of("question_answer")
        )


@pytest.mark.axolotl
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_axolotl_gives_loss_to_answers_and_end_tokens(
    conversation: str, gpt2: Any, labels_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    messages = CONVERSATIONS[conversation]
    with caplog.at_level(logging.WARNING):
        (row,) = labels_of(gpt2, "question_answer", [messages])
    expected = [f" {m['content']}<|endoftext|>" for m in messages if m["role"] == "assistant"]
    assert spoken(gpt2, row) == expected
    assert "not be trained" not in caplog.text


@pytest.mark.axolotl
def test_axolotl_gives_loss_to_real_answers(
    gpt2: Any, labels_of: Callable[..., Any], real_data: Path
) -> None:
    """The answers of a real MedQuAD collection, whole and with nothing beside their end token."""
    from converters.records.medquad import read_document, to_record

    files = sorted((real_data / "medquad").rglob("*.xml"))[::40]
    records = [
        to_record(pair)
        for file in files
        for pair in read_document(file.read_bytes(), file.parent.name, file.stem)
        if pair.answer
    ]
    assert len(records) > 100
    rows = labels_of(gpt2, "question_answer", [[dict(m) for m in record["messages"]] for record in records])
    for record, row in zip(records, rows, strict=True):
        answer = record["messages"][-1]["content"].strip()
        assert spoken(gpt2, row) == [f" {answer}<|endoftext|>"]


# ------------------------------------------------------------------------------------ Axolotl's templates


@pytest.mark.axolotl
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("template", ["chatml", "gemma3", "llama3", "qwen3"])
def test_axolotl_gives_loss_to_the_end_of_each_turn(
    template: str, conversation: str, gpt2: Any, labels_of: Callable[..., Any]
) -> None:
    """The ender carries loss although it is not the tokenizer's end token."""
    tokens = ["<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|eot_id|>"]
    gpt2.add_special_tokens({"additional_special_tokens": tokens})
    messages = CONVERSATIONS[conversation]
    (row,) = labels_of(gpt2, template, [messages])
    (ender,) = TEMPLATES[template].end_of_turn
    assert spoken(gpt2, row) == [f"{m['content']}{ender}" for m in messages if m["role"] == "assistant"]


@pytest.mark.axolotl
def test_a_template_whose_tokens_are_missing_stops(gpt2: Any, labels_of: Callable[..., Any]) -> None:
    """GPT-2 has no `<|im_end|>`; in pieces, it would be learned as text."""
    with pytest.raises(ValueError, match="encoded as multiple tokens"):
        labels_of(gpt2, "chatml", [[QUESTION, ANSWER]])


@pytest.mark.axolotl
def test_without_its_name_the_end_of_a_turn_would_carry_no_loss(gpt2: Any) -> None:
    """What Axolotl does with the gemma3 template when nothing is said: the reason for `eot_tokens`."""
    from axolotl.prompt_strategies.chat_template import load
    from axolotl.utils.dict import DictDefault

    gpt2.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    dataset = {"type": "chat_template", "chat_template": "gemma3"}
    strategy = load(gpt2, DictDefault({"sequence_len": 64, "train_on_inputs": False}), dataset)
    assert spoken(gpt2, strategy.tokenize_prompt({"messages": [QUESTION, REPLY]})) == ["10 mg a day."]
