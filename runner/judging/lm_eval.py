"""Tasks of lm-eval: the harness asks the model that is loaded anyway; each question becomes a line.

One task after the other, each as a whole, because the harness draws examples in the order of the
questions: a stage that was killed goes on with the task that was not done.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from runner.judging.harness import Leaf, load_leaves
from runner.judging.lines import Lines
from runner.judging.run import Judging
from runner.judging.walls import told_templates
from runner.spec.problems import MachineError, StageError, how_to_install
from runner.stages.common import expand_path

PACKAGES = ("datasets", "lm_eval")
SHOWN = 20_000
"""Characters of a prompt that are kept, from its end."""


def lock(run: Judging, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the harness adds to the evaluation lock.

    Places are left out: the questions that they hold are in it by their hashes.
    """
    from importlib.metadata import version

    leaves = [leaf for leaf in _leaves(run, task) if leaf.task is not None]
    facts = {leaf.name: leaf.facts() for leaf in leaves}
    return {
        "task": {name: value for name, value in task.items() if name not in _PLACES},
        "task_version": {name: fact["version"] for name, fact in facts.items()},
        "few_shot": {name: fact["few_shot"] for name, fact in facts.items()},
        "task_file": {name: fact["config"] for name, fact in facts.items()},
        "records": {name: fact["questions"] for name, fact in facts.items()},
        "context": _harness_model(run, task).max_length,
        "harness": {name: version(name) for name in PACKAGES},
    }


def predict(run: Judging, task: Mapping[str, Any], place: Lines) -> None:
    """Write one line a question: what was asked, answered and expected, and its metrics.

    Raises:
        UsageError: a task is not known, or a task file would run code.
        DataError: a file of questions is damaged.
        MachineError: the harness or the questions are not there.
        StageError: a likelihood is no number; names the question.
    """
    leaves = _leaves(run, task)
    model = _harness_model(run, task)
    total = sum(leaf.count for leaf in leaves)
    for leaf in leaves:
        if all(name in place for name in leaf.ids):
            continue
        for line in _asked(model, leaf, task):
            if line["id"] not in place:
                place.add(line)
        run.progress(len(place), total, "questions")
    place.finish([name for leaf in leaves for name in leaf.ids])


def _leaves(run: Judging, task: Mapping[str, Any]) -> list[Leaf]:
    """Return the tasks with their questions; loaded once for lock and predictions."""
    key = ("leaves", repr(task))
    if key not in run.kept:
        places = {name: expand_path(task[name], os.environ, hub=False) for name in _PLACES if task[name]}
        try:
            run.kept[key] = load_leaves({**task, **dict.fromkeys(_PLACES), **places})
        except ImportError as error:
            raise MachineError(f"lm-eval is not installed ({error}): {how_to_install('eval')}") from error
    leaves: list[Leaf] = run.kept[key]
    return leaves


_PLACES = ("data", "include")


def _harness_model(run: Judging, task: Mapping[str, Any]) -> Any:
    """Return our model as the harness wants it; the tokenizer is a copy, since the harness changes it."""
    from lm_eval.models.huggingface import HFLM

    key = ("model", repr(task))
    if key not in run.kept:
        tokenizer = copy.deepcopy(run.tokenizer)
        if task["chat_template"]:
            tokenizer.chat_template = run.template
        run.kept[key] = HFLM(pretrained=run.model, tokenizer=tokenizer, batch_size=task["batch"])
    return run.kept[key]


def _asked(model: Any, leaf: Leaf, task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the lines of one task. What the harness draws is drawn from `seed`, and nothing else is."""
    import torch
    from lm_eval.evaluator import evaluate

    if leaf.task is None:
        yield {"id": leaf.ids[0], "group": leaf.name, "task": leaf.name, "skipped": leaf.skipped}
        return
    _refuse_long_answers(model, leaf)
    with told_templates(leaf.name), torch.random.fork_rng():
        torch.random.manual_seed(task["seed"])
        found = evaluate(
            model,
            {leaf.name: leaf.task},
            limit=leaf.count,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=task["chat_template"],
            fewshot_as_multiturn=task["chat_template"],
        )
    lines: dict[int, dict[str, Any]] = {}
    for sample in found["samples"][leaf.name]:
        number = sample["doc_id"]
        line = lines.setdefault(number, _line(model, leaf, number, sample))
        line["metrics"] |= _metrics(leaf, sample)
    yield from (lines[number] for number in sorted(lines))


def _refuse_long_answers(model: Any, leaf: Leaf) -> None:
    """Check that the model has room for a question beside the longest answer.

    Raises:
        StageError: it has not; says the two numbers.
    """
    if leaf.task.OUTPUT_TYPE != "generate_until":
        return
    longest = leaf.task.config.generation_kwargs.get("max_gen_toks", model.max_gen_toks)
    if longest >= model.max_length:
        raise StageError(
            f"{leaf.name!r} lets the model write {longest} tokens, and the model holds {model.max_length} in all: "
            "no room is left for the question"
        )


def _line(model: Any, leaf: Leaf, number: int, sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of one question, without its metrics; they are one set a filter."""
    requests, doc = sample["arguments"], sample["doc"]
    prompt = requests[0][0]
    options = None
    scores = []
    if leaf.task.OUTPUT_TYPE == "multiple_choice":
        options = [option.strip() for option in leaf.task.doc_to_choice(doc)]
        scores = [float(answer[0]) for answer in sample["filtered_resps"]][: len(options)]
        if not all(math.isfinite(score) for score in scores):
            raise StageError(
                f"{leaf.name}/{number}: the log likelihoods of the answers are {scores}: the weights hold a value "
                "that is no number, or the precision is too small for the model"
            )
    return {
        "id": f"{leaf.name}/{number}",
        "group": f"{leaf.name}/{number}",
        "task": leaf.name,
        "prompt": prompt[-SHOWN:],
        "prompt_sha256": sample["prompt_hash"],
        "answer": _answer(sample, options, scores),
        "reference": _reference(sample["target"], options),
        "options": None if options is None else len(options),
        "scores": scores,
        "cut": _is_cut(model, leaf, requests),
        "invented": leaf.invented,
        "metrics": {},
        "aggregation": {name: _name_of(rule) for name, rule in leaf.task.aggregation().items()},
    }


def _answer(sample: Mapping[str, Any], options: list[str] | None, scores: list[float]) -> str | None:
    if options is not None:
        return options[max(range(len(scores)), key=scores.__getitem__)]
    (first, *_) = sample["filtered_resps"]
    return first if isinstance(first, str) else None


def _reference(target: Any, options: list[str] | None) -> Any:
    if options is not None and isinstance(target, int) and 0 <= target < len(options):
        return options[target]
    return target if isinstance(target, (str, list)) else str(target)


def _is_cut(model: Any, leaf: Leaf, requests: Any) -> bool:
    """Return whether the harness leaves out the beginning of a prompt, because the model cannot hold it."""
    prompt, rest = requests[0][0], requests[0][1] if len(requests[0]) > 1 else ""
    if leaf.task.OUTPUT_TYPE == "loglikelihood_rolling":
        return False  # read in windows
    if isinstance(rest, Mapping):
        room = model.max_length - rest.get("max_gen_toks", model.max_gen_toks)
        return bool(len(model.tok_encode(prompt)) > room)
    return bool(len(model.tok_encode(prompt + rest)) > model.max_length + 1)


def _metrics(leaf: Leaf, sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of one question under one filter, named `metric` or `metric,filter`."""
    kind = "" if sample["filter"] == "none" else f",{sample['filter']}"
    values = {f"{name}{kind}": _plain(sample[name]) for name in sample["metrics"]}
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise StageError(f"{leaf.name}/{sample['doc_id']}: {name} is {value}, which is no number")
    return values


def _plain(value: Any) -> Any:
    """Return a metric of one question as JSON holds it; the harness gives numbers, pairs and arrays."""
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return float(value) if isinstance(value, (bool, int, float)) else value


def _name_of(rule: Any) -> str:
    """Return the harness's name of a rule that makes one number of many."""
    return str(getattr(rule, "__name__", rule))
