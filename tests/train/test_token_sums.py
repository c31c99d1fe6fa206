"""Sums over label tokens against plain torch in float64, one token at a time."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from runner import token_sums as module
from runner.recorder import Counters
from runner.token_sums import IGNORED, Sums, count_batch, perplexity, token_sums

torch = pytest.importorskip("torch", reason="needs the `train` extra")


def one_by_one(logits: Any, labels: Any) -> tuple[float, float, int, int]:
    """Return loss, entropy, correct and count, from the definitions."""
    loss = entropy = 0.0
    correct = count = 0
    for record in range(labels.shape[0]):
        for token in range(1, labels.shape[1]):
            label = int(labels[record, token])
            if label == IGNORED:
                continue
            p = torch.softmax(logits[record, token - 1].double(), 0)
            loss -= math.log(float(p[label]))
            entropy -= sum(float(value) * math.log(float(value)) for value in p if value > 0)
            correct += int(p.argmax()) == label
            count += 1
    return loss, entropy, correct, count


def batch(seed: int, vocabulary: int = 50) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 9, vocabulary, generator=generator)
    labels = torch.randint(0, vocabulary, (3, 9), generator=generator)
    labels[0, :4] = IGNORED
    labels[1, 2:] = IGNORED
    labels[2, 5] = int(logits[2, 4].argmax())
    return logits, labels


@pytest.mark.parametrize("elements", [1, 130, 1 << 24], ids=["token by token", "two tokens", "at once"])
def test_sums_are_those_of_the_definitions(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    monkeypatch.setattr(module, "CPU_CHUNK_ELEMENTS", elements)
    for seed in range(5):
        logits, labels = batch(seed)
        loss, entropy, correct, count = one_by_one(logits, labels)
        found = token_sums(logits, labels)
        assert found.dtype == torch.float64
        assert found[2:].tolist() == [correct, count]
        assert count == 5 + 1 + 8
        assert float(found[0]) == pytest.approx(loss, rel=1e-6)
        assert float(found[1]) == pytest.approx(entropy, rel=1e-6)


def test_the_first_token_is_never_predicted() -> None:
    labels = torch.tensor([[7, IGNORED, IGNORED]])
    assert token_sums(torch.zeros(1, 3, 50), labels).tolist() == [0, 0, 0, 0]


def test_equal_logits_have_the_entropy_of_the_vocabulary() -> None:
    found = token_sums(torch.zeros(1, 3, 50), torch.tensor([[1, 2, 3]]))
    assert float(found[0]) == pytest.approx(2 * math.log(50))
    assert float(found[1]) == pytest.approx(2 * math.log(50))


def test_a_logit_of_minus_infinity_is_a_word_that_cannot_come() -> None:
    logits = torch.zeros(1, 2, 4)
    logits[0, 0, 3] = -math.inf
    found = token_sums(logits, torch.tensor([[0, 1]]))
    assert float(found[0]) == pytest.approx(math.log(3))
    assert float(found[1]) == pytest.approx(math.log(3))


@pytest.mark.parametrize("target", [1, 3, 5])
def test_of_equal_predictions_the_first_counts(target: int) -> None:
    """As `argmax` has it: tokens 3 and 5 share the highest logit, in bfloat16 more often than one thinks."""
    logits = torch.zeros(1, 2, 8)
    logits[0, 0, [3, 5]] = 2.0
    labels = torch.tensor([[IGNORED, target]])
    assert token_sums(logits, labels)[2] == (target == 3)


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]]])
    found = token_sums(logits, torch.tensor([[0, 1]]))
    assert found.tolist() == [1e4, 0.0, 0.0, 1.0]


def test_nothing_is_changed_and_nothing_is_drawn() -> None:
    """The logits, the labels, their gradient and the random state are as before."""
    logits, labels = batch(0)
    logits.requires_grad_()
    kept, state = logits.detach().clone(), torch.random.get_rng_state()
    assert not token_sums(logits, labels).requires_grad
    assert torch.equal(logits, kept)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_bfloat16_is_widened_before_it_is_used() -> None:
    logits, labels = batch(1)
    narrow = logits.bfloat16()
    loss, entropy, *_ = one_by_one(narrow, labels)
    found = token_sums(narrow, labels)
    assert float(found[0]) == pytest.approx(loss, rel=1e-6)
    assert float(found[1]) == pytest.approx(entropy, rel=1e-6)


def test_rows_and_attended_tokens() -> None:
    ids = torch.zeros(2, 5, dtype=torch.long)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 2, 2, 2]])  # a packed row counts its sequences
    assert [int(value) for value in count_batch({"input_ids": ids, "attention_mask": mask})] == [2, 8]
    assert [int(value) for value in count_batch({"input_ids": ids})] == [2, 10]


def test_means_do_not_depend_on_how_rows_are_put_together() -> None:
    """One token of loss 4 and three of loss 0: mean 1, whatever the batches."""
    total = Sums()
    total.add(Sums(loss=4.0, correct=0, entropy=2.0, label_tokens=1, tokens=9, rows=1))
    total.add(Sums(loss=0.0, correct=3, entropy=0.0, label_tokens=3, tokens=9, rows=1))
    assert total.means() == {"loss": 1.0, "token_accuracy": 0.75, "entropy": 0.5}
    assert perplexity(1.0) == math.e
    assert perplexity(1e9) == math.inf
    assert perplexity(None) is None


def test_without_label_tokens_or_logits_means_are_unknown() -> None:
    assert Sums().means() == {"loss": None, "token_accuracy": None, "entropy": None}
    fused = Sums(loss=3.0, label_tokens=3, without_logits=3)
    assert fused.means() == {"loss": 1.0, "token_accuracy": None, "entropy": None}


def test_counters_survive_json_to_the_last_bit() -> None:
    counters = Counters()
    counters.add(Sums(loss=0.1 + 0.2, entropy=1 / 3, correct=1, label_tokens=2, tokens=5, rows=1), 0.1)
    assert Counters.from_dict(json.loads(json.dumps(counters.as_dict()))) == counters
