"""Spec task -> lm-eval: arguments, questions in the form of its data sets, and what is code in a task file.

Pure: no files, no torch, no harness. Names checked against lm-eval 0.4.11, `evaluator.simple_evaluate`.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

import yaml
from jinja2 import Environment, TemplateSyntaxError, nodes

from runner.spec.tasks import LmEvalTask

FIELDS = (  # key of the task, argument of the harness
    ("tasks", "tasks"),
    ("few_shot", "num_fewshot"),
    ("limit", "limit"),
    ("batch", "batch_size"),
    ("chat_template", "apply_chat_template"),
)
BY_RULE = {"seed"}
"""Handled by a function, not by a row."""
NOT_OURS = {
    "task": "the word that selects the task",
    "include": "where the task files are looked for",
    "data": "takes the place of a data set, question by question",
    "questions": "invented questions take the place of a data set",
}

MMLU = "cais/mmlu"
LETTERS = "ABCD"
BUILDERS = ("arrow", "csv", "json", "parquet", "text")
"""What stands for a data set where a task names its own files."""

Row = dict[str, Any]


def to_lm_eval(task: LmEvalTask) -> dict[str, Any]:
    """Return the arguments with which the harness does what the task asks for."""
    given = {argument: getattr(task, name) for name, argument in FIELDS}
    arguments = {name: value for name, value in given.items() if value is not None}
    return {**arguments, "tasks": list(task.tasks), **_seeds(task.seed)}


def _seeds(seed: int) -> dict[str, int]:
    """Return the harness's four seeds: of the examples' choice, and of what is drawn while generating."""
    names = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
    return dict.fromkeys(names, seed)


# ------------------------------------------------------------------------------ questions of the harness


class QuestionsError(ValueError):
    """A file of questions is not in the form that it should have; says where."""


def mmlu_rows(lines: Sequence[str], subject: str, name: str) -> list[Row]:
    """Return the rows of `cais/mmlu` that a CSV file of the published layout holds.

    Args:
        lines: of the file, with their line ends; fields may hold commas, quotes and line breaks.
        subject: for example `anatomy`.
        name: of the file, for the message.

    Raises:
        QuestionsError: there is no question, or one has not four choices and an answer A to D.

    >>> mmlu_rows(["Which?,1,2,3,4,C"], "anatomy", "x.csv")[0]["answer"]
    2
    """
    rows, reader = [], csv.reader(lines, strict=True)
    try:
        for fields in reader:
            if len(fields) != 6 or fields[5] not in LETTERS or not fields[5]:
                raise QuestionsError(
                    f"{name}:{reader.line_num}: expected a question, four choices and an answer A to D, "
                    f"got {len(fields)} fields, the last {fields[-1] if fields else ''!r}"
                )
            question, *choices, answer = fields
            rows.append(
                {
                    "question": question,
                    "subject": subject,
                    "choices": choices,
                    "answer": LETTERS.index(answer),
                }
            )
    except csv.Error as error:
        raise QuestionsError(f"{name}:{reader.line_num}: {error}") from error
    if not rows:
        raise QuestionsError(f"{name}: no question in it")
    return rows


def below(folder: PurePath, data_files: Any) -> Any:
    """Return a task's `data_files` with each relative one below a folder; addresses stay.

    >>> below(PurePath("/d"), {"test": "a.jsonl"})
    {'test': '/d/a.jsonl'}
    """
    if isinstance(data_files, Mapping):
        return {split: below(folder, files) for split, files in data_files.items()}
    if isinstance(data_files, (list, tuple)):
        return [below(folder, file) for file in data_files]
    return data_files if "://" in data_files else str(folder / data_files)


def invented(dataset: str, subject: str | None, count: int, seed: int) -> list[Row] | None:
    """Return invented questions in the columns of a data set; None for one that is not known here.

    They are no medicine: what is asked for stands in the question, so that each has one right answer.

    Args:
        dataset: id on the hub.
        subject: of the data set's configuration, where it has several.
        count: how many.
        seed: of a generator of its own.
    """
    make = _COLUMNS.get(dataset)
    if make is None:
        return None
    generator = random.Random(f"{dataset}/{subject}/{seed}")
    return [make(number, generator, subject or "") for number in range(count)]


_WORDS = ("fever", "cough", "rash", "pain", "nausea", "fatigue", "swelling", "thirst")


def _asked(number: int, generator: random.Random) -> tuple[str, list[str], int]:
    words = generator.sample(_WORDS, 4)
    answer = generator.randrange(4)
    return f"Invented question {number + 1}: which choice reads '{words[answer]}'?", words, answer


def _mmlu(number: int, generator: random.Random, subject: str) -> Row:
    question, words, answer = _asked(number, generator)
    return {"question": question, "subject": subject, "choices": words, "answer": answer}


def _medmcqa(number: int, generator: random.Random, _: str) -> Row:
    question, words, answer = _asked(number, generator)
    return {
        "question": question,
        **dict(zip(("opa", "opb", "opc", "opd"), words, strict=True)),
        "cop": answer,
    }


def _medqa(number: int, generator: random.Random, _: str) -> Row:
    question, words, answer = _asked(number, generator)
    return {"sent1": question, **{f"ending{n}": word for n, word in enumerate(words)}, "label": answer}


def _pubmedqa(number: int, generator: random.Random, _: str) -> Row:
    word, other = generator.sample(_WORDS, 2)
    there = generator.random() < 0.5
    return {
        "QUESTION": f"Was {word} seen in invented patient {number + 1}?",
        "CONTEXTS": [f"The patient had {word if there else other} and nothing else."],
        "final_decision": "yes" if there else "no",
    }


_COLUMNS: Mapping[str, Callable[[int, random.Random, str], Row]] = MappingProxyType(
    {
        MMLU: _mmlu,
        "medmcqa": _medmcqa,
        "GBaker/MedQA-USMLE-4-options-hf": _medqa,
        "bigbio/pubmed_qa": _pubmedqa,
    }
)
"""Data set on the hub -> one row in its columns."""


# ------------------------------------------------------------------------------ code in a task file


@dataclass(frozen=True)
class Code:
    """A place of a task file at which it would run Python; line and column count from 1."""

    line: int
    column: int
    what: str


_PLAIN = re.compile(r"tag:yaml\.org,2002:(?:str|int|float|bool|null|seq|map|merge|timestamp|binary|value)")
METRICS = (
    *("acc", "acc_all", "acc_bytes", "acc_mutual_info", "acc_norm", "bits_per_byte", "bleu", "brier_score"),
    *("bypass", "byte_perplexity", "chrf", "exact_match", "f1", "likelihood", "mcc", "perplexity", "ter"),
    "word_perplexity",
)
"""The harness's own. Any other name it takes for a program of the `evaluate` library, on disk or on the hub."""
WRITING = (
    *("do_sample", "max_completion_tokens", "max_gen_toks", "max_new_tokens", "max_tokens", "min_p"),
    *("num_beams", "repetition_penalty", "temperature", "top_k", "top_p", "typical_p", "until"),
)
"""Keys of `generation_kwargs` that are numbers or texts. transformers takes others, and runs the code that some name."""
_ADDRESS = re.compile(r"::|://")
"""What makes an address of a text: one of another file system than that of files, or several in a chain."""
_DATA_SET = re.compile(r"(?!.*\.py$)[^/\s]*/\S+")
_UNSEEN = re.compile(r"_|mro$")


def code_in(text: str) -> Iterator[Code]:
    """Yield what a task file would run: tags of Python, keys that name a program, templates that reach into Python.

    The harness loads task files with a loader that makes any Python object, and hands metrics, data sets and the
    settings of writing to libraries that fetch and run programs. What is said here of templates is for an early word
    alone: they are rendered in a sandbox (`runner.judging.walls`), whatever they hold.

    Raises:
        yaml.YAMLError: the text is no YAML.
    """
    seen: set[int] = set()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pending = [root]
    while pending:
        node = pending.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if not _PLAIN.fullmatch(node.tag):
            what = f"{node.tag.replace('tag:yaml.org,2002:', '!!')} {_short(node.value)}".rstrip()
            yield _at(node, what)
        elif isinstance(node, yaml.ScalarNode):
            if _reaches_into_python(node.value):
                yield _at(node, f"a template that reaches into Python: {_short(node.value)}")
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if what := _program(key.value, value, at_top=node is root):
                    yield _at(value, what)
            pending += [part for pair in reversed(node.value) for part in reversed(pair)]
        else:
            pending += reversed(node.value)


def _at(node: yaml.Node, what: str) -> Code:
    return Code(node.start_mark.line + 1, node.start_mark.column + 1, what)


def _addresses(node: yaml.Node) -> Iterator[str]:
    """Yield the texts below a node that name another place than a file."""
    pending, seen = [node], set[int]()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, yaml.ScalarNode):
            if _ADDRESS.search(one.value):
                yield one.value
        elif isinstance(one, yaml.MappingNode):
            pending += [part for pair in one.value for part in pair]
        else:
            pending += one.value


def _program(key: Any, value: yaml.Node, *, at_top: bool) -> str:
    """Return what a key would have the harness run; empty where it is only data."""
    one = value.value if isinstance(value, yaml.ScalarNode) else None
    if one is not None and not _PLAIN.fullmatch(value.tag):
        return ""  # said by its tag
    if key == "class":
        return "class, a Python class"
    if key == "include" and not at_top:
        return "include, which stands at the top of a file only"
    if key in ("trust_remote_code", "hf_evaluate", "unsafe_code") and (one or "").lower() not in (
        "false",
        "no",
        "off",
    ):
        return f"{key}: {_short(one)}".rstrip()
    if key == "metric" and one not in METRICS:
        return (
            f"metric {_short(one)!r}, a program of the evaluate library; lm-eval's own: {', '.join(METRICS)}"
        )
    if key == "use_prompt":
        return "use_prompt, which reads its templates from another file"
    if key == "storage_options":
        return "storage_options, which a file system may take for a program"
    if key == "dataset_kwargs" and (address := next(_addresses(value), None)):
        return f"the address {_short(address)!r}; data lie in files beside the task, or on the hub as dataset_path"
    if key == "dataset_path" and one not in BUILDERS and not _DATA_SET.fullmatch(one or ""):
        return f"dataset_path {_short(one)!r}; allowed: {', '.join(BUILDERS)}, a folder, or owner/name on the hub"
    if key == "generation_kwargs" and isinstance(value, yaml.MappingNode):
        other = [str(name.value) for name, _ in value.value if name.value not in WRITING]
        return f"generation_kwargs.{_short(other[0])}; allowed: {', '.join(WRITING)}" if other else ""
    return ""


def _reaches_into_python(text: str) -> bool:
    """Return whether a template names what no template has to do with. Its strings are read as Jinja reads them."""
    if "{{" not in text and "{%" not in text:
        return False
    try:
        tree = Environment().parse(text)  # only parsed: nothing is rendered
    except (TemplateSyntaxError, RecursionError):
        return False  # no template, or one that the harness cannot render either
    inner = (
        [node.attr for node in tree.find_all(nodes.Getattr)]
        + [node.arg.value for node in tree.find_all(nodes.Getitem) if isinstance(node.arg, nodes.Const)]
        + ["_" for node in tree.find_all(nodes.Filter) if node.name == "attr"]
    )
    return any(isinstance(name, str) and _UNSEEN.match(name) for name in inner)


def _short(value: Any) -> str:
    return "" if not isinstance(value, str) else value if len(value) < 60 else f"{value[:57]}..."


def included(text: str) -> tuple[str, ...]:
    """Return the files that a task file includes, as it names them.

    Raises:
        yaml.YAMLError: the text is no YAML.
    """
    return _values(text, "include")


def names_in(text: str) -> tuple[str, ...]:
    r"""Return the names that a task file gives to a task, a group or tags.

    Raises:
        yaml.YAMLError: the text is no YAML.

    >>> names_in("task: mine\ntag: [a, b]")
    ('mine', 'a', 'b')
    """
    return (*_values(text, "task"), *_values(text, "group"), *_values(text, "tag"))


def _values(text: str, key: str) -> tuple[str, ...]:
    """Return the texts under a key of the file's mapping: one, or those of a list."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    found: list[str] = []
    for name, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if name.value != key:
            continue
        parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if key == "task" and isinstance(value, yaml.SequenceNode):
            continue  # the members of a group
        found += [part.value for part in parts if isinstance(part, yaml.ScalarNode)]
    return tuple(found)
