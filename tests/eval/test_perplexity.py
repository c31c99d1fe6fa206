from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from eval.bootstrap import SAME
from eval.perplexity import METRICS, RecordScore, held_out, ratios

SHORT = RecordScore("r1", "g1", nll=2.0, label_tokens=2, answer_bytes=8, correct=1, entropy=3.0)
LONG = RecordScore("r2", "g2", nll=6.0, label_tokens=6, answer_bytes=24, correct=5, entropy=1.0)
HARD = RecordScore("r3", "g3", nll=8.0, label_tokens=2, answer_bytes=8, correct=0, entropy=4.0)


def test_numbers_worked_out_by_hand() -> None:
    """16 nats over 10 tokens and 40 bytes; 6 of 10 first; 8 nats of entropy."""
    judged = held_out([SHORT, LONG, HARD])
    assert judged.loss.value == pytest.approx(1.6)
    assert judged.perplexity.value == pytest.approx(math.exp(1.6))
    assert judged.bits_per_byte.value == pytest.approx(16 / (40 * math.log(2)))
    assert judged.token_accuracy.value == pytest.approx(0.6)
    assert judged.entropy.value == pytest.approx(0.8)


def test_the_published_perplexity_of_system_c_is_that_of_its_loss() -> None:
    totals = np.array([[2.0423, 1.0, 1.0, 0.0, 0.0]])
    assert ratios(totals)[0, METRICS.index("perplexity")] == pytest.approx(7.71, abs=0.005)


def test_a_model_that_guesses_among_bytes_needs_eight_bits_for_each() -> None:
    """256 equally likely tokens of one byte each: ln 256 nats a token, 8 bits a byte."""
    score = RecordScore("r", "g", 5 * math.log(256), 5, 5, 0, 5 * math.log(256))
    judged = held_out([score])
    assert judged.bits_per_byte.value == pytest.approx(8.0)
    assert judged.perplexity.value == pytest.approx(256.0)
    assert judged.entropy.value == pytest.approx(judged.loss.value)


def test_intervals_of_loss_and_perplexity_are_the_same_draws() -> None:
    judged = held_out([SHORT, LONG, HARD])
    assert judged.perplexity.low == pytest.approx(math.exp(judged.loss.low))
    assert judged.perplexity.high == pytest.approx(math.exp(judged.loss.high))
    assert (judged.loss.low, judged.loss.high) == pytest.approx((1.0, 4.0))


def test_few_groups_are_warned_of_and_one_has_no_interval() -> None:
    """2, 6 and 2 tokens: Kish's number is 100 / 44, that of the squares 44^2 / 1,328; the root of both is 1.82."""
    few = held_out([SHORT, LONG, HARD])
    assert few.narrow == "too narrow, for there are only 3 groups, which count as 1.8 of equal size"
    assert few.narrow in few.method
    one = held_out([SHORT, replace(LONG, group="g1")])
    assert math.isnan(one.loss.low)
    assert one.narrow is None
    assert one.method.startswith("no intervals: 1 group,")
    enough = held_out([replace(SHORT, id=f"r{n}", group=f"g{n}", nll=2 + n) for n in range(20)])
    assert enough.narrow is None


def test_all_tokens_right_is_not_certain() -> None:
    """20 groups: 1 - z^2 / (20 + z^2) = 0.83887; the loss of each is the same, which tells no interval."""
    judged = held_out([replace(SHORT, id=f"r{n}", group=f"g{n}", correct=2) for n in range(20)])
    assert (judged.token_accuracy.low, judged.token_accuracy.high) == (pytest.approx(0.83887, abs=1e-5), 1.0)
    assert (judged.loss.value, judged.loss.reason) == (1.0, SAME)


def test_answers_without_bytes_have_no_bits_per_byte() -> None:
    assert math.isnan(held_out([replace(SHORT, answer_bytes=0)]).bits_per_byte.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_tokens": 0}, "record 'r1' has no label token"),
        ({"nll": math.nan}, "record 'r1': nll nan"),
        ({"entropy": math.inf}, "entropy inf"),
    ],
)
def test_what_is_no_number_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        held_out([replace(SHORT, **change), LONG])  # type: ignore[arg-type]  # wrong on purpose


def test_no_records_are_refused() -> None:
    with pytest.raises(ValueError, match="no records"):
        held_out([])


def test_evaluation_imports_no_trainer_and_no_execution() -> None:
    code = (
        "import sys, eval.perplexity\n"
        "print(sorted({'torch', 'transformers', 'runner.execute', 'runner.stages'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
