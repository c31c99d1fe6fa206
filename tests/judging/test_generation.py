"""Writing answers: against transformers' own generate, any batch size, every record its own numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from runner.spec.problems import StageError
from runner.tokens import rows_of

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("transformers", reason="needs the train extra")

from runner.judging import generation  # noqa: E402 - after the skips above
from runner.judging.generation import Options, Written, chosen, nucleus, prompts_of, room_of, write_answers  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:(torch|transformers|peft|accelerate|huggingface_hub)"
)

NEW = 12
DRAWN = Options(NEW, temperature=1.0, top_p=0.9, seed=3)
GREEDY = Options(NEW)
Make = Callable[..., Any]


def alone(
    model: Any, prompts: list[list[int]], names: list[str], ends: Any, options: Options
) -> list[Written]:
    return [
        write_answers(model, [prompt], [name], ends, options)[0]
        for prompt, name in zip(prompts, names, strict=True)
    ]


def some_prompts(vocabulary: int) -> list[list[int]]:
    """Prompts of 3 to 43 tokens."""
    generator = torch.Generator().manual_seed(5)
    lengths = (3, 43, 17, 4, 30, 9)
    return [torch.randint(8, vocabulary, (n,), generator=generator).tolist() for n in lengths]


NAMES = [f"r{number}" for number in range(6)]


def some_ends(model: Any, prompts: list[list[int]]) -> frozenset[int]:
    """Tokens that the model writes after a few others, so that answers end at different places."""
    written = write_answers(model, prompts, NAMES, frozenset(), GREEDY)
    return frozenset({written[0].ids[3], written[2].ids[6]})


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3_text", "qwen3", "mistral"])
def test_the_same_tokens_as_transformers_alone_and_in_a_batch(make_model: Make, architecture: str) -> None:
    """gemma3_text has a sliding window of 32 tokens here, which the longest prompt is beyond."""
    model = make_model(architecture).eval()
    prompts = some_prompts(model.config.vocab_size)
    ends = some_ends(model, prompts)
    together = write_answers(model, prompts, NAMES, ends, GREEDY)
    assert together == alone(model, prompts, NAMES, ends, GREEDY)
    for prompt, answer in zip(prompts, together, strict=True):
        ids = torch.tensor([prompt])
        whole = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW,
            eos_token_id=sorted(ends),
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        assert answer.ended == (whole[-1] in ends)
        assert list(answer.ids) == (whole[:-1] if answer.ended else whole)
    assert len({len(answer.ids) for answer in together}) > 1
    assert {answer.ended for answer in together} == {True, False} or all(a.ended for a in together)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3_text"])
def test_what_is_drawn_depends_on_the_record_alone(make_model: Make, architecture: str) -> None:
    """The order, the neighbours and the batch size change nothing; the seed and the id do."""
    model = make_model(architecture).eval()
    prompts = some_prompts(model.config.vocab_size)
    ends = some_ends(model, prompts)
    together = write_answers(model, prompts, NAMES, ends, DRAWN)
    assert together == alone(model, prompts, NAMES, ends, DRAWN)
    assert together == write_answers(model, prompts[::-1], NAMES[::-1], ends, DRAWN)[::-1]
    other_seed = Options(NEW, temperature=1.0, top_p=0.9, seed=4)
    assert together != write_answers(model, prompts, NAMES, ends, other_seed)
    same_prompt = write_answers(model, [prompts[0]] * 6, NAMES, frozenset(), DRAWN)
    assert len({answer.ids for answer in same_prompt}) == 6


def test_a_low_temperature_is_greedy(make_model: Make) -> None:
    """At 1e-7, since the two likeliest tokens of a random model lie as close as 1e-5."""
    model = make_model().eval()
    prompts = some_prompts(model.config.vocab_size)
    cold = Options(NEW, temperature=1e-7, seed=1)
    assert write_answers(model, prompts, NAMES, frozenset(), cold) == write_answers(
        model, prompts, NAMES, frozenset(), GREEDY
    )


def test_draws_follow_the_distribution() -> None:
    """Shares of 0.5, 0.3, 0.15 and 0.05 at temperature 1, over an even grid of numbers: exact to 1/1000."""
    logits = torch.tensor([0.3, 0.05, 0.5, 0.15]).log().repeat(1000, 1)
    grid = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn = Counter(chosen(logits, grid, Options(1, temperature=1.0)).tolist())
    assert drawn == {0: 300, 1: 50, 2: 500, 3: 150}
    half = Counter(chosen(logits, grid, Options(1, temperature=0.5)).tolist())  # shares go with p squared
    total = 0.3**2 + 0.05**2 + 0.5**2 + 0.15**2
    for token, p in enumerate((0.3, 0.05, 0.5, 0.15)):
        assert half[token] == pytest.approx(1000 * p**2 / total, abs=1)
    kept = Counter(chosen(logits, grid, Options(1, temperature=1.0, top_p=0.8)).tolist())
    assert kept == {0: 375, 2: 625}  # 0.3 and 0.5 of 0.8


def test_the_largest_number_draws_a_token_of_the_vocabulary() -> None:
    nearly_one = torch.tensor([math.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert chosen(torch.tensor([[0.0, 1.0, 2.0]]), nearly_one, Options(1, temperature=1.0)).tolist() == [2]


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.99])
def test_the_nucleus_is_that_of_transformers(top_p: float) -> None:
    from transformers import TopPLogitsWarper

    logits = torch.randn(20, 300, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 3
    warped = TopPLogitsWarper(top_p)(None, logits)
    assert torch.equal(nucleus(torch.softmax(logits, dim=-1), top_p), warped.isfinite())


# ------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize(
    ("architecture", "template"),
    [("llama", "question_answer"), ("qwen3", "chatml"), ("gemma3_text", "tokenizer")],
)
def test_a_prompt_is_the_row_of_training_up_to_the_answer(
    make_model: Make, judging: Make, architecture: str, template: str
) -> None:
    make_model(architecture, template=template)
    run = judging(template=template)
    records = run.records("test")
    prompts = prompts_of(run, records, 1000)
    rows = rows_of(run.tokenizer, records, run.template, 1000)
    for record, prompt, row in zip(records, prompts, rows, strict=True):
        first = next(place for place, label in enumerate(row.labels) if label >= 0)
        assert prompt.ids == row.input_ids[:first]
        text = run.tokenizer.decode(prompt.ids)
        assert record["messages"][0]["content"] in text
        assert "Fever" not in text


def test_of_several_answers_the_last_is_written(make_model: Make, judging: Make) -> None:
    make_model()
    run = judging()
    turns = [("user", "Is it bad?"), ("assistant", "No."), ("user", "Pain?"), ("assistant", "Some pain.")]
    record = {"id": "r", "messages": [{"role": role, "content": text} for role, text in turns]}
    (prompt,) = prompts_of(run, [record], 1000)
    words = run.tokenizer
    assert words.decode(prompt.ids) == (
        f"{words.bos_token}Question: Is it bad?\nAnswer: No.{words.eos_token}\n\nQuestion: Pain?\nAnswer:"
    )


def test_a_prompt_does_not_depend_on_its_reference(make_model: Make, judging: Make) -> None:
    """Llama's tokenizer parts the space from a digit; that space must not tell that the answer is a number."""
    make_model()
    run = judging()
    asked = [
        {
            "id": text,
            "messages": [{"role": "user", "content": "Fever?"}, {"role": "assistant", "content": text}],
        }
        for text in ("38 °C", "No", "- none", "«oui»")
    ]
    assert len({prompt.ids for prompt in prompts_of(run, asked, 1000)}) == 1


def test_a_prompt_longer_than_the_context_is_not_cut(make_model: Make, judging: Make) -> None:
    make_model()
    run = judging(context=8)
    assert {prompt.cut for prompt in prompts_of(run, run.records("test"), 1000)} == {0}


def test_a_prompt_beyond_the_positions_loses_its_beginning_and_is_counted(
    make_model: Make, judging: Make
) -> None:
    """64 positions and 50 new tokens leave 14 for the prompt."""
    model = make_model(positions=64)
    run = judging()
    room = room_of(model, 50)
    assert room == 14
    records = run.records("test")
    whole, cut = prompts_of(run, records, 1000), prompts_of(run, records, room)
    for before, after in zip(whole, cut, strict=True):
        assert after.ids == before.ids[-14:]
        assert after.cut == max(0, len(before.ids) - 14)
    assert max(prompt.cut for prompt in cut) > 0
    with pytest.raises(StageError, match="has 64 positions and 64 tokens are to follow"):
        room_of(model, 64)


def test_every_part_of_a_line(make_model: Make, judging: Make) -> None:
    make_model()
    run = judging()
    records = run.records("test", 5)
    found = {record["id"]: part for record, part in generation.answers(run, records, GREEDY, 2)}
    assert sorted(found) == sorted(record["id"] for record in records)
    question = records[0]["messages"][0]["content"]
    assert found["r0"]["prompt"] == f"{run.tokenizer.bos_token}Question: {question}\nAnswer:"
    assert found["r0"]["reference"] == records[0]["messages"][1]["content"]
    assert 0 < found["r0"]["n_tokens"] <= NEW
    assert set(found["r0"]) == {"prompt", "answer", "reference", "n_tokens", "ended", "prompt_cut"}


def test_what_is_no_number_is_named(make_model: Make, run_dir: Any, judging: Make) -> None:
    model = make_model()
    model.lm_head.weight.data[7] = math.nan
    model.save_pretrained(run_dir / "model")
    run = judging()
    with pytest.raises(StageError, match=r"prediction for record 'r\d+' is no number"):
        list(generation.answers(run, run.records("test"), GREEDY, 4))
