"""Batched writing of answers against a loop that writes one at a time, and against transformers' generate.

A model of DistilGPT-2's shape with random weights, prompts of 10 to 120 tokens, answers drawn at
temperature 1, twice over: all of `--length` tokens, and of that many in the mean, where one in
`--length` tokens of the vocabulary ends an answer. The second is the harder for a batch, which lasts as
long as its longest answer. Ours writes the same tokens in any batch, which is checked; transformers
draws its own, so paces are by the token.

    python benchmarks/eval/generation.py [--records 16] [--length 32] [--batch 8 16] [--repeats 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core; before torch is loaded

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from runner.judging.generation import Options, Prompt, Written, by_length, left_padded, write_answers

VOCABULARY = 50_257
SHORTEST, LONGEST = 10, 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=16)
    parser.add_argument("--length", type=int, default=32, help="mean tokens of an answer")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    every, some = frozenset[int](), frozenset(range(0, VOCABULARY, arguments.length))
    found = rows(arguments, "equal", every, arguments.length)
    found += rows(arguments, "unequal", some, 8 * arguments.length)
    if arguments.json:
        print(json.dumps(found))
        return
    for row in found:
        pace = f"{row['tokens']:>7,} tokens{row['tokens_per_s']:>9,.0f} /s{row['ratio']:>8.2f}x"
        print(f"{row['answers']:<9}{row['what']:<40}{pace}")


def rows(
    arguments: argparse.Namespace, answers: str, ends: frozenset[int], most: int
) -> list[dict[str, Any]]:
    """Return tokens a second of each way, and how many times that of the loop; medians of one run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(n_layer=arguments.layers)).eval()
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (arguments.records,), generator=generator).tolist()
    prompts = [
        Prompt(tuple(torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()), 0)
        for length in lengths
    ]
    options = Options(most, temperature=1.0)
    ways: dict[str, Callable[[], Any]] = {
        "ours, one at a time": lambda: ours(model, prompts, ends, options, 1)
    }
    for batch in arguments.batch:
        ways[f"ours, {batch} at a time"] = lambda b=batch: ours(model, prompts, ends, options, b)
    for batch in (1, *arguments.batch):
        ways[f"transformers' generate, {batch} at a time"] = lambda b=batch: theirs(
            model, prompts, ends, options, b
        )
    spent: dict[str, list[float]] = {way: [] for way in ways}
    written: dict[str, Any] = {}
    for _ in range(arguments.repeats):  # side by side, so that a busy machine slows all of them
        for way, work in ways.items():
            start = time.perf_counter()
            written[way] = work()
            spent[way].append(time.perf_counter() - start)
    same = [written[way] for way in ways if way.startswith("ours")]
    if any(one != same[0] for one in same):
        raise SystemExit("the batch size changed what was written")
    pace = {way: tokens_of(written[way]) / statistics.median(seconds) for way, seconds in spent.items()}
    loop = pace["ours, one at a time"]
    return [
        {
            "answers": answers,
            "what": way,
            "tokens": tokens_of(written[way]),
            "tokens_per_s": round(pace[way], 1),
            "ratio": round(pace[way] / loop, 2),
        }
        for way in ways
    ]


def ours(
    model: Any, prompts: list[Prompt], ends: frozenset[int], options: Options, batch: int
) -> dict[int, Written]:
    """Write all answers, `batch` at a time."""
    found: dict[int, Written] = {}
    for part in by_length(prompts, batch):
        asked = [prompts[place].ids for place in part]
        found |= dict(
            zip(part, write_answers(model, asked, [f"r{n}" for n in part], ends, options), strict=True)
        )
    return found


def theirs(
    model: Any, prompts: list[Prompt], ends: frozenset[int], options: Options, batch: int
) -> dict[int, Written]:
    """Write as many answers with transformers' generate, which draws other tokens."""
    found: dict[int, Written] = {}
    for part in by_length(prompts, batch):
        ids, mask, _ = left_padded([prompts[place].ids for place in part], model.device)
        with torch.inference_mode():
            whole = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=options.temperature,
                top_k=0,
                max_new_tokens=options.max_new_tokens,
                eos_token_id=sorted(ends) or None,
                pad_token_id=0,
            )[:, ids.shape[1] :].tolist()
        for place, tokens in zip(part, whole, strict=True):
            stop = next((n for n, token in enumerate(tokens) if token in ends), len(tokens))
            found[place] = Written(tuple(tokens[:stop]), stop < len(tokens))
    return found


def tokens_of(written: dict[int, Written]) -> int:
    return sum(len(answer.ids) + answer.ended for answer in written.values())


if __name__ == "__main__":
    main()
