"""The rules about tasks that classify or write: labels and their words, what a temperature needs, ignored keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from eval.ecgbench import SETS
from runner.spec.model import TINY_RANDOM, AxolotlSpec, LlmSpec
from runner.spec.nearest import nearest
from runner.spec.section import given
from runner.spec.sources import CardioSource, TabularSource, UciHeartSource
from runner.spec.tabular_rules import sources_of
from runner.spec.tasks import (
    ClassificationTask,
    EcgBenchTask,
    JudgeTask,
    LmEvalTask,
    MultilabelTask,
    RougeTask,
    Task,
)
from runner.spec.yaml_text import Path

Broken = Iterator[tuple[Path, str]]

UNPARSED = "unparsed"
"""What a written answer without a label is called; no label may be."""
NO_FEATURES = "majority"
"""The floor that needs no features."""


def _classifications(spec: AxolotlSpec) -> Iterator[tuple[Path, ClassificationTask]]:
    for number, task in enumerate(spec.evaluate):
        if isinstance(task, ClassificationTask):
            yield ("evaluate", number), task


def name_of(task: Task) -> str:
    """Return what tells a task from others of its word: the rubric, the label set, the set of ECGBench."""
    if isinstance(task, JudgeTask):
        return f"{task.task} by {task.rubric}"
    if isinstance(task, MultilabelTask):
        return f"{task.task} of {task.label_set}"
    return f"{task.task} of {task.set}" if isinstance(task, EcgBenchTask) else task.task


def positive_is_a_label(spec: AxolotlSpec) -> Broken:
    """Yield a positive label that is none."""
    for path, task in _classifications(spec):
        if task.positive not in task.labels:
            near = nearest(task.positive, list(task.labels))
            hint = f"; nearest: {near}" if near else ""
            labels = ", ".join(task.labels)
            yield (*path, "positive"), f"{task.positive!r} is no label; labels: {labels}{hint}"


def words_tell_labels_apart(spec: AxolotlSpec) -> Broken:
    """Yield labels without a word, words that cannot be found, and words of two labels."""
    for path, task in _classifications(spec):
        label_of: dict[str, str] = {}
        if len(task.labels) < 2:
            yield (*path, "labels"), "one label alone, so there is nothing to tell apart"
        for label, words in task.labels.items():
            place = (*path, "labels", label)
            if label == UNPARSED:
                yield place, f"{label!r} is what an answer without a label is called"
            if not words:
                yield place, f"no word for {label!r}"
            for word in words:
                plain = " ".join(word.lower().split())
                if not re.search(r"[^\W_]", plain):
                    yield place, f"{word!r} has no letter or digit"
                elif label_of.setdefault(plain, label) != label:
                    yield place, f"{word!r} also stands for {label_of[plain]!r}"


def labels_are_answers(spec: AxolotlSpec) -> Broken:
    """Yield labels whose first words are not what the table's records answer."""
    tables = [source for _, source in sources_of(spec) if isinstance(source, TabularSource)]
    for path, task in _classifications(spec):
        given = {words[0] for words in task.labels.values() if words} | set(task.labels)
        for table in tables:
            answers = {table.answers.absent, table.answers.present}
            for answer in sorted(answers - given):
                yield (*path, "labels"), f"no label begins with {answer!r}, which data.answers gives"
            if len(task.labels) > len(answers):
                yield (*path, "labels"), f"{len(task.labels)} labels, and data.answers gives {len(answers)}"


def first_words_are_answers(spec: AxolotlSpec) -> Broken:
    """Yield labels called like an answer of the table that begin with another word, which would be scored."""
    tables = [source for _, source in sources_of(spec) if isinstance(source, TabularSource)]
    answers = {word for table in tables for word in (table.answers.absent, table.answers.present)}
    for path, task in _classifications(spec):
        for label, words in task.labels.items():
            if label in answers and words and words[0] != label:
                yield (
                    (*path, "labels", label),
                    f"begins with {words[0]!r}, but the records answer {label!r} (data.answers)",
                )


def subgroups_of_tables(spec: AxolotlSpec) -> Broken:
    """Yield sub-groups by an attribute that no record of a table has."""
    tables = [source for _, source in sources_of(spec)]
    if not tables or not all(isinstance(source, (CardioSource, UciHeartSource)) for source in tables):
        return
    with_site = any(isinstance(source, UciHeartSource) for source in tables)
    known = ("age_band", "sex", "site") if with_site else ("age_band", "sex")
    for path, task in _classifications(spec):
        for place, name in enumerate(task.subgroups):
            if name not in known:
                near = nearest(name, known)
                yield (
                    (*path, "subgroups", place),
                    f"no record has {name!r}" + (f"; nearest: {near}" if near else ""),
                )


def temperature_is_fitted_elsewhere(spec: AxolotlSpec) -> Broken:
    """Yield temperatures without likelihoods, and those that would be fitted on the judged records or on none."""
    for path, task in _classifications(spec):
        if not task.temperature_scaling:
            continue
        place = (*path, "temperature_scaling")
        if "likelihood" not in task.scoring:
            yield place, "without scoring: [likelihood] there is nothing to scale"
        if task.split == "validation":
            yield place, "the validation records are those that are judged"
        elif spec.data.split.validation == 0:
            yield place, "data.split.validation is 0"


def floors_have_features(spec: AxolotlSpec) -> Broken:
    """Yield floors that need the features of a table where the records come from none."""
    if all(isinstance(source, TabularSource) for _, source in sources_of(spec)):
        return
    for path, task in _classifications(spec):
        for number, floor in enumerate(task.floors):
            if floor != NO_FEATURES:
                yield (
                    (*path, "floors", number),
                    f"{floor!r}, but the source {getattr(spec.data, 'source', '')!r} has no features",
                )


def answers_have_room(spec: AxolotlSpec) -> Broken:
    """Yield answers as long as the context of a small random model, which has no more positions than that."""
    if spec.model.base != TINY_RANDOM:
        return
    for number, task in enumerate(spec.evaluate):
        scoring = getattr(task, "scoring", ("generation",))
        longest: int | None = getattr(task, "max_new_tokens", None)
        if longest is not None and longest >= spec.model.context and "generation" in scoring:
            yield (
                ("evaluate", number, "max_new_tokens"),
                f"{longest} tokens, which leaves a prompt none of the {spec.model.context} positions of {TINY_RANDOM}",
            )


TINY_CONTEXT = 8192
"""Positions that a small random model is built with at the most; it learns the way, not long texts."""


def tiny_models_stay_small(spec: AxolotlSpec) -> Broken:
    """Yield a context for which a small random model would be built with more positions than it can need."""
    if spec.model.base == TINY_RANDOM and spec.model.context > TINY_CONTEXT:
        yield (
            ("model", "context"),
            f"{spec.model.context:,} tokens; {TINY_RANDOM} is built with at most {TINY_CONTEXT:,} positions",
        )


def nothing_is_ignored(spec: AxolotlSpec) -> Broken:
    """Yield keys that another key's value makes meaningless."""
    for number, task in enumerate(spec.evaluate):
        path = ("evaluate", number)
        if isinstance(task, RougeTask) and task.temperature == 0:
            for name in ("top_p", "seed"):
                if name in given(task):
                    yield (*path, name), f"given with temperature {task.temperature:g}, which draws nothing"
        if (
            isinstance(task, ClassificationTask)
            and "generation" not in task.scoring
            and "max_new_tokens" in given(task)
        ):
            yield (*path, "max_new_tokens"), "given without scoring: [generation], so nothing is written"
        if (
            isinstance(task, ClassificationTask)
            and "likelihood" not in task.scoring
            and "normalise" in given(task)
        ):
            yield (*path, "normalise"), "given without scoring: [likelihood], so no likelihood is divided"
        if isinstance(task, MultilabelTask):
            yield from _ignored_of_labels((*path,), task)
        if isinstance(task, EcgBenchTask):
            yield from _ignored_of_bench((*path,), task)


def _ignored_of_bench(path: Path, task: EcgBenchTask) -> Broken:
    of, told = SETS[task.set], given(task)
    if of.kind == "report" and "compat" in told:
        yield (
            (*path, "compat"),
            f"given with set: {task.set}, whose published score is a judge's grade (judge)",
        )
    if of.kind != "report" and task.judge is not None:
        reports = ", ".join(name for name, one in SETS.items() if one.kind == "report")
        yield (
            (*path, "judge"),
            f"given with set: {task.set}, whose answers are no reports and are not graded; reports: {reports}",
        )
    elif task.judge is not None and task.file is None:
        yield (
            (*path, "judge"),
            "given without file, whose items it grades; answers to the run's own records are graded by task: judge",
        )
    if task.images is not None and task.file is None:
        yield (*path, "images"), "given without file, whose images they are"
    if "overlap" in told and task.file is None:
        yield (
            (*path, "overlap"),
            "given without file; the run's own records are kept apart by data.split and data.patients",
        )
    if task.items == "invented" and task.file is None:
        yield (*path, "items"), "invented, given without file, whose items they stand for"
    if "split" in told and task.file is not None and task.items == "real":
        yield (*path, "split"), "given with file, whose items are judged and not the run's own records"


OF_LIKELIHOODS = ("ask", "question", "labels_at_once", "thresholds", "beta", "calibration_bins")
"""Keys of `multilabel` that written answers do not read."""


def _ignored_of_labels(path: Path, task: MultilabelTask) -> Broken:
    told = given(task)
    if "generation" not in task.scoring:
        if "max_new_tokens" in told:
            yield (*path, "max_new_tokens"), "given without scoring: [generation], so nothing is written"
        if "prompt" in told and task.ask == "each":
            yield (
                (*path, "prompt"),
                "given without scoring: [generation], and ask: each has a question of its own",
            )
    if "likelihood" not in task.scoring:
        for name in OF_LIKELIHOODS:
            if name in told:
                yield (*path, name), "given without scoring: [likelihood], so no chance is compared"
        return
    if task.ask == "record":
        for name in ("question", "calibration_bins"):
            if name in told:
                yield (
                    (*path, name),
                    "given with ask: record, which asks the record's own question and gives no chance",
                )
    if task.thresholds == "half" and "beta" in told:
        yield (*path, "beta"), "given with thresholds: half, which are not chosen"


def thresholds_are_chosen_elsewhere(spec: AxolotlSpec) -> Broken:
    """Yield thresholds that would be chosen on the judged records or on none, and halves of what is no chance."""
    for number, task in enumerate(spec.evaluate):
        if not isinstance(task, MultilabelTask) or "likelihood" not in task.scoring:
            continue
        place = ("evaluate", number, "thresholds")
        if task.thresholds == "half":
            if task.ask == "record":
                yield place, "half, but the likelihood of a name is no chance of yes (ask: record)"
        elif task.split == "validation":
            yield place, "the validation records are those that are judged"
        elif spec.data.split.validation == 0:
            yield place, "data.split.validation is 0"


def ablations_have_images(spec: AxolotlSpec) -> Broken:
    """Yield ablations of images where the records have none."""
    for number, task in enumerate(spec.evaluate):
        if isinstance(spec, LlmSpec) and not isinstance(task, LmEvalTask) and task.ablate:
            yield ("evaluate", number, "ablate"), f"{', '.join(task.ablate)} images, but kind: llm reads none"
