"""Which tokens carry loss: by hand, and equal to Axolotl's own rows; the token audit's numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converters.axolotl import dump, to_axolotl
from converters.numbers import Counts, numbers_of
from converters.templates import end_of_turn
from runner.spec.model import LlmSpec
from runner.spec.problems import DataError, MachineError
from runner.token_audit import audit, count_tokens
from runner.tokens import IGNORED, Row, load_tokenizer, read_records, rows_of, template_of

pytest.importorskip("transformers", reason="needs the train extra")

pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:(torch|transformers|peft|accelerate|huggingface_hub)"
)

MakeSpec = Callable[..., LlmSpec]
SCRIPT = Path(__file__).parent / "axolotl_rows.py"


def messages(*turns: str) -> list[dict[str, str]]:
    """Question, answer, question, answer, ...; a first turn that begins with `!` is the system's."""
    system = [{"role": "system", "content": turns[0][1:]}] if turns[0].startswith("!") else []
    rest = turns[len(system) :]
    roles = ("user", "assistant")
    return system + [{"role": roles[n % 2], "content": text} for n, text in enumerate(rest)]


HARD = (
    messages("What is fever ?", "A high temperature."),
    messages("!Be brief.", "What is fever ?", "A high temperature."),
    messages("One ?", "First answer", "Two ?", "Second answer."),
    messages("What is naïve 😀 ?", "Zelle — 漢字 e\u0301 😀😀."),
    messages("Spaces ?", "  leading and trailing  \n\n"),
    messages("Same ?", "Same ?"),
    messages("Long ?", "pain and fever " * 80),
    messages("Cut in a letter ?", "😀漢" * 60),
    messages("The question alone is too long " * 40, "never seen"),
    messages("Answer: Question: ?", "Question: Answer: <b> assistant user\n"),
    messages("Digits ?", "[[12.5 mg/dL]] zz"),
)


def records(talks: Any = HARD) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{number}",
            "messages": talk,
            "group": f"g{number}",
            "question": "",
            "focus": None,
            "source": "test",
        }
        for number, talk in enumerate(talks)
    ]


def write(folder: Path, talks: Any = HARD) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record, ensure_ascii=False) for record in records(talks)]
    for split in ("train", "validation", "test"):
        (folder / "data" / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


WHOLE = ("Question", "Answer", " What", " is", " fever", " A", " high", " temperature", " First", " Second",
         " answer", " One", " Two")  # fmt: skip
"""Words that are one token each of the small tokenizer; every other byte is a token of its own."""


@pytest.fixture
def gpt2(tmp_path: Path) -> Any:
    """Return a tokenizer of GPT-2's kind whose tokens can be told by eye."""
    from tokenizers.pre_tokenizers import ByteLevel

    tokens, merges = [*sorted(ByteLevel.alphabet()), "<|endoftext|>"], []
    for word in WHOLE:
        letters = word.replace(" ", "Ġ")
        for end in range(1, len(letters)):
            if letters[: end + 1] not in tokens:
                tokens.append(letters[: end + 1])
                merges.append(f"{letters[:end]} {letters[end]}")
    folder = tmp_path / "small_gpt2"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    return load_tokenizer(str(folder))


# -------------------------------------------------------------------------------------- by hand


def test_labels_by_hand(gpt2: Any) -> None:
    """The answer with the space before it, and the end token; nothing of the question."""
    (row,) = rows_of(gpt2, records(HARD[:1]), template_of(gpt2, "question_answer"), 64)
    assert gpt2.decode(row.input_ids).endswith(
        "Question: What is fever ?\nAnswer: A high temperature.<|endoftext|>"
    )
    labelled = [gpt2.decode([label]) for label in row.labels if label != IGNORED]
    assert labelled == [" A", " high", " temperature", ".", "<|endoftext|>"]
    assert row.label_tokens == 5
    assert row.answer_bytes == len("A high temperature.")
    assert row.tokens == len(row.input_ids) == len(row.labels)


def test_both_answers_of_a_conversation_carry_loss(gpt2: Any) -> None:
    (row,) = rows_of(gpt2, records(HARD[2:3]), template_of(gpt2, "question_answer"), 64)
    kept = "".join(gpt2.decode([label]) for label in row.labels if label != IGNORED)
    assert kept == " First answer<|endoftext|> Second answer.<|endoftext|>"
    assert row.answer_bytes == len("First answerSecond answer.")


def test_a_cut_row_counts_only_the_bytes_that_are_left(gpt2: Any) -> None:
    template = template_of(gpt2, "question_answer")
    (whole,) = rows_of(gpt2, records(HARD[:1]), template, 64)
    (cut,) = rows_of(gpt2, records(HARD[:1]), template, whole.tokens - 3)
    assert cut.label_tokens == 2
    assert cut.answer_bytes == len("A high")
    assert cut.tokens == whole.tokens
    assert cut.input_ids == whole.input_ids[:-3]


def test_a_question_that_fills_the_context_leaves_no_label(gpt2: Any) -> None:
    (row,) = rows_of(gpt2, records(HARD[8:9]), template_of(gpt2, "question_answer"), 64)
    assert (row.label_tokens, row.answer_bytes) == (0, 0)


# ------------------------------------------------------------------------------- equal to Axolotl's


@pytest.mark.axolotl
@pytest.mark.realdata
def test_labels_are_those_of_axolotls_own_rows(make_spec: MakeSpec, tmp_path: Path, real_data: Path) -> None:
    """The config that a run would train with, read by the real Axolotl: every id and every label."""
    pytest.importorskip("axolotl", reason="needs the train extra")
    from runner.tiny.tokenizer import train

    cases = (
        ("gpt2", "question_answer"),
        ("llama", "llama3"),
        ("gemma3_text", "tokenizer"),
        ("qwen3", "qwen3"),
    )
    context = 64
    wanted = {}
    for architecture, template in cases:
        folder = tmp_path / architecture
        write(folder)
        spec = make_spec(
            {
                "model": {"base": "tiny-random", "architecture": architecture, "context": context},
                "data.template": template,
            }
        )
        texts = [message["content"] for talk in HARD for message in talk]
        words, _ = train(texts, architecture, template)
        if architecture == "gpt2":
            words = load_tokenizer(str(real_data / "tokenizers" / "gpt2"))
        words.save_pretrained(folder / "model")
        _save_config(folder / "model", architecture, words)
        loaded = load_tokenizer(str(folder / "model"))
        rows = rows_of(loaded, records(), template_of(loaded, template), context, end_of_turn(spec))
        wanted[architecture] = list(rows)
        config = to_axolotl(spec, numbers_of(spec, Counts(len(HARD), 0, 0)))
        for key in ("plugins", "runner"):
            del config[key]
        (folder / "config").mkdir()
        (folder / "config" / "axolotl.yaml").write_text(dump(config), encoding="utf-8")
    environment = {
        "HF_HUB_OFFLINE": "1",
        "AXOLOTL_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *(str(tmp_path / architecture) for architecture, _ in cases)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for architecture, rows in wanted.items():
        theirs = json.loads((tmp_path / architecture / "rows.json").read_text(encoding="utf-8"))
        assert [list(row.input_ids) for row in rows] == [row["input_ids"] for row in theirs], architecture
        assert [list(row.labels) for row in rows] == [row["labels"] for row in theirs], architecture
        assert sum(row.label_tokens == 0 for row in rows) == 1


def _save_config(folder: Path, architecture: str, words: Any) -> None:
    from transformers import CONFIG_MAPPING

    from runner.tiny.architectures import tiny_fields

    CONFIG_MAPPING[architecture](**tiny_fields(architecture, words, 64)).save_pretrained(folder)


# ------------------------------------------------------------------------------------------- audit


def row(kept: int, labels: int, tokens: int, characters: int, size: int) -> Row:
    """A row of `kept` tokens, of which the last `labels` carry loss."""
    marked = (IGNORED,) * (kept - labels) + (1,) * labels
    return Row((1,) * kept, marked, answer_bytes=0, tokens=tokens, characters=characters, bytes=size)


def test_three_rows_counted_by_hand() -> None:
    """Lengths 4, 10 and 16 at a context of 10: one is cut; 24 tokens are kept, 6 carry loss."""
    counted = count_tokens([row(10, 5, 16, 60, 64), row(4, 1, 4, 20, 20), row(10, 0, 10, 40, 66)], 10)
    assert counted == {
        "records": 3,
        "tokens": {"total": 30, "p50": 10, "p90": 16, "max": 16},
        "longer_than_context": {"records": 1, "share": 1 / 3},
        "kept_tokens": 24,
        "label_tokens": 6,
        "label_share": 0.25,
        "records_without_labels": 1,
        "characters_per_token": 4.0,
        "bytes_per_token": 5.0,
    }


def test_no_rows_have_no_shares() -> None:
    counted = count_tokens([], 10)
    assert (counted["records"], counted["label_share"], counted["tokens"]["p50"]) == (0, None, None)


@pytest.mark.realdata
def test_the_audit_of_a_real_record(tmp_path: Path, real_data: Path) -> None:
    """Tokens of GPT-2 counted by hand: 10 of the question and its frame, 5 of the answer."""
    write(tmp_path, HARD[:1])
    (tmp_path / "data" / "validation.jsonl").unlink()
    result = audit(str(real_data / "tokenizers" / "gpt2"), "question_answer", 12, tmp_path)
    assert json.loads((tmp_path / "data" / "tokens.json").read_text(encoding="utf-8")) == result
    found = result["splits"]["train"]
    text = "<|endoftext|>Question: What is fever ?\nAnswer: A high temperature.<|endoftext|>"
    # <|endoftext|> Question : What is fever ? \n Answer : | A high temperature . <|endoftext|>
    assert found["tokens"] == {"total": 15, "p50": 15, "p90": 15, "max": 15}
    assert found["longer_than_context"] == {"records": 1, "share": 1.0}
    assert (found["kept_tokens"], found["label_tokens"]) == (12, 2)
    assert found["characters_per_token"] == len(text) / 15
    assert result["splits"]["validation"]["records"] == 0


@pytest.mark.realdata
def test_a_context_without_a_single_answer_token_is_refused(tmp_path: Path, real_data: Path) -> None:
    write(tmp_path, HARD[:1])
    with pytest.raises(DataError, match="no training record keeps a single answer token within 8 tokens"):
        audit(str(real_data / "tokenizers" / "gpt2"), "question_answer", 8, tmp_path)
    assert not (tmp_path / "data" / "tokens.json").exists()


# ------------------------------------------------------------------------------------- wrong input


def test_a_tokenizer_without_a_template_is_said(gpt2: Any) -> None:
    with pytest.raises(DataError, match="comes without a chat template"):
        template_of(gpt2, "tokenizer")


def test_a_record_that_the_template_refuses_is_named(gpt2: Any) -> None:
    wrong = [{"id": "r7", "messages": [{"role": "tool", "content": "x"}]}]
    with pytest.raises(DataError, match=r"the chat template refuses record 'r7': .*unknown role tool"):
        list(rows_of(gpt2, wrong, template_of(gpt2, "question_answer"), 64))


def test_private_use_letters_in_a_record_do_no_harm(gpt2: Any) -> None:
    (plain,) = rows_of(
        gpt2, records([messages("Q", "\ue000x\ue000")]), template_of(gpt2, "question_answer"), 64
    )
    kept = gpt2.decode([label for label in plain.labels if label != IGNORED])
    assert kept.lstrip() == "\ue000x\ue000<|endoftext|>"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"records\.jsonl:2: not a JSON line"),
        ("[]", r":2: not a record"),
        ('{"id": "a"}', "has no messages"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(records()[0]) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        list(read_records(path))
    assert len(list(read_records(path, 1))) == 1


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(MachineError, match="Slow does not say where its tokens stand"):
        list(rows_of(Slow(), records(), "", 64))
