"""The parts of a report about the run itself: curves, plan against actual, what is learned from, environment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from eval.report.format import counted, duration, number
from eval.report.judged import NO_EXAMPLES, flat, redacted
from eval.report.training_plots import Training, training_pictures
from eval.report.view import (
    Block,
    Cell,
    Column,
    Details,
    Heading,
    Pairs,
    Pictures,
    Section,
    Table,
    Text,
    count_cell,
    text_cell,
)
from runner.reporting.record import RunRecord
from runner.results import seconds_of_steps
from runner.spec.shared import Examples

Json = Mapping[str, Any]

KEY_PACKAGES = (
    "runner", "torch", "transformers", "axolotl", "trl", "peft", "accelerate", "deepspeed", "lm_eval",
    "scikit-learn", "numpy",
)  # fmt: skip

SELECTED = {"macro_map": "MAP (macro)", "macro_auc": "AUC (macro)"}
"""Word of `train.select` -> as people write it."""


# ------------------------------------------------------------------------------------------- curves


def training_of(record: RunRecord) -> Training:
    """Return the curves of a run."""
    return Training(
        steps=[event for event in record.metrics if event["event"] == "step"],
        evaluations=[event for event in record.metrics if event["event"] == "evaluation"],
        final_step=record.proof.get("best_step"),
        clipped_at=record.spec["train"].get("max_grad_norm"),
        kind="signal" if record.plan["kind"] == "ecg" else "text",
    )


def curves_section(record: RunRecord) -> Section:
    """Return the dashboard, each curve by itself, and the evaluations as a table."""
    training = training_of(record)
    pictures = training_pictures(training)
    if not pictures:
        return Section("curves", "Training curves", (Text(("No step of the training was logged.",)),))
    blocks: list[Block] = [Pictures(pictures[:1]), Pictures(pictures[1:])]
    if training.evaluations:
        blocks.append(
            Details(
                "The evaluations on validation records as numbers", (_evaluations(training),), printed=False
            )
        )
    return Section("curves", "Training curves", tuple(blocks), _curves_lead(record, training))


def _curves_lead(record: RunRecord, training: Training) -> str:
    last = training.steps[-1]
    seen = f"{last['tokens_seen']:,} tokens" if "tokens_seen" in last else f"{last['rows_seen']:,} records"
    sentence = f"{counted(last['step'], 'optimiser step')}, {counted(float(last['epoch']), 'epoch')}, {seen}."
    if training.final_step is not None:
        by = record.proof.get("selected_by")
        best = (
            f"the highest {SELECTED.get(by, by)} of the validation records"
            if by
            else "the lowest validation loss"
        )
        sentence += f" The final weights are those of step {training.final_step:,}, {best}."
    return sentence


def _evaluations(training: Training) -> Table:
    all_names = (
        ("loss", "Loss"),
        ("perplexity", "Perplexity"),
        ("token_accuracy", "Token accuracy"),
        ("entropy", "Entropy"),
        ("average_precision", "Average precision"),
        ("auc", "AUC"),
    )
    names = tuple((name, title) for name, title in all_names if any(name in e for e in training.evaluations))
    columns = (
        Column("Step", number=True),
        Column("Epoch", number=True),
        *(Column(title, number=True) for _, title in names),
    )
    rows = tuple(
        (
            count_cell(event["step"]),
            Cell(f"{event['epoch']:.2f}", sort=event["epoch"]),
            *(Cell(number(event.get(name)), sort=event.get(name)) for name, _ in names),
        )
        for event in training.evaluations
    )
    of_tokens = any("entropy" in event for event in training.evaluations)
    caption = (
        "Loss and entropy in nats per label token." if of_tokens else "Loss in nats per record and class."
    )
    return Table(caption, columns, rows)


# --------------------------------------------------------------------------------- plan and actual


def plan_section(record: RunRecord) -> Section:
    """Return what was planned beside what happened, and how long each stage took."""
    blocks: list[Block] = [plan_against_actual(record)]
    changes = record.plan.get("changes")
    if changes:
        blocks += [Heading("What the rehearsal changed"), _changes(changes)]
    blocks += [Heading("Stages"), _stages(record)]
    blocks += _learned_from(record)
    return Section("plan", "Plan against actual", tuple(blocks))


def plan_against_actual(record: RunRecord) -> Table:
    """Return the plan's numbers beside the proof of the training."""
    planned, proof = record.plan["numbers"], record.proof
    steps = [event for event in record.metrics if event["event"] == "step"]
    evaluations = [e for e in record.metrics if e["event"] == "evaluation" and e["step"] > 0]
    splits = record.manifest.get("splits", {})
    accumulated = f"{planned['micro']} x {planned['accumulation']} x {planned['world_size']}"
    tokens_note = "" if planned["tokens_at_most"] is None else "at most: rows x context"
    rows = [
        _compared("Training records", planned["train_records"], splits.get("train", {}).get("records")),
        _compared("Validation records", planned["validation_records"], splits.get("validation", {}).get("records")),
        _compared("Test records", planned["test_records"], splits.get("test", {}).get("records")),
        _compared("Processes", planned["world_size"], proof.get("processes")),
        _effective_batch(record, steps, f"micro x accumulation x processes = {accumulated}"),
        _compared("Optimiser steps", planned["steps"], proof.get("steps"), _why_shorter(proof)),
        _compared("Rows seen", planned["rows"], proof.get("rows_seen"), _why_shorter(proof)),
        _compared("Evaluations", planned["evaluations"], len(evaluations) if steps else None),
        *(
            [(
                text_cell("Tokens seen"), count_cell(planned["tokens_at_most"], tokens_note),
                count_cell(proof.get("tokens_seen")), Cell(""),
            )]
            if record.plan["kind"] == "llm"
            else []
        ),
        (
            text_cell("Trained parameters"), count_cell(proof.get("expected_trainable")),
            count_cell(proof.get("trainable"), f"of {proof['total']:,}" if "total" in proof else ""),
            _agrees(proof.get("expected_trainable"), proof.get("trainable")),
        ),
    ]  # fmt: skip
    columns = (
        Column("Quantity"),
        Column("Planned", number=True),
        Column("Actual", number=True),
        Column("Agrees"),
    )
    return Table("What the plan said, and what the engine is proven to have done.", columns, tuple(rows))


def _effective_batch(record: RunRecord, logged: Sequence[Json], note: str) -> tuple[Cell, ...]:
    """Return the planned batch beside what the rows of the steps say it was.

    An epoch's last batch takes what is left, so rows over steps is no batch. The planned one is believed where it
    explains the rows of every logged step and of them all; otherwise the mean stands there.
    """
    planned, proof = record.plan["numbers"], record.proof
    batch, steps, rows = planned["effective"], proof.get("steps"), proof.get("rows_seen")
    records = record.manifest.get("splits", {}).get("train", {}).get("records", planned["train_records"])
    if not steps or not rows:
        return _compared("Effective batch", batch, None, note)
    seen = [(event["step"], event["rows_seen"]) for event in logged if "rows_seen" in event]
    world = proof.get("processes") or 1
    share = world if record.plan["kind"] == "ecg" else planned["micro"] * world
    epoch = None if records is None else _filled(records, share if world > 1 else 1)
    if all(_taken(batch, step, epoch) == count for step, count in (*seen, (steps, rows))):
        last = 0 if epoch is None or steps < math.ceil(epoch / batch) else epoch % batch
        shorter = f"the last batch of an epoch is shorter: {last}" if last else ""
        actual, same = count_cell(batch, shorter), True
    else:
        mean = rows / steps
        actual, same = (
            Cell(f"{mean:,.0f}" if mean.is_integer() else f"{mean:,.2f} on average", sort=mean),
            False,
        )
    return text_cell("Effective batch"), count_cell(batch, note), actual, _verdict(same)


def _taken(batch: int, steps: int, epoch: int | None) -> int:
    """Return the rows that steps of `batch` take; `epoch` has so many, None where nobody counted them.

    >>> _taken(32, 12, 360), _taken(32, 14, 360), _taken(32, 14, None)
    (360, 424, 448)
    """
    if epoch is None:
        return steps * batch
    epochs, rest = divmod(steps, math.ceil(epoch / batch))
    return epochs * epoch + rest * batch


def _filled(records: int, multiple: int) -> int:
    return records + -records % multiple


def _why_shorter(proof: Json) -> str:
    return "stopped early" if proof.get("stopped_early") else ""


def _compared(name: str, planned: int | None, actual: int | None, note: str = "") -> tuple[Cell, ...]:
    return text_cell(name), count_cell(planned, note), count_cell(actual), _agrees(planned, actual)


def _agrees(planned: int | None, actual: int | None) -> Cell:
    if planned is None or actual is None:
        return Cell("not known", sort="not known", tone="muted", badge=True)
    return _verdict(planned == actual)


def _verdict(same: bool) -> Cell:
    return Cell(
        "yes" if same else "no", sort="yes" if same else "no", tone="good" if same else "bad", badge=True
    )


def _changes(changes: list[Json]) -> Table:
    rows = tuple(
        (text_cell(c["key"]), text_cell(c["real"]), text_cell(c["rehearsal"]), text_cell(c["why"]))
        for c in changes
    )
    columns = (
        Column("Engine key"),
        Column("Real run", code=True),
        Column("Rehearsal", code=True),
        Column("Why"),
    )
    return Table("The same way, with these keys of the engine's config made small.", columns, rows)


def _stages(record: RunRecord) -> Table:
    # The page does not know how long it takes itself, and says the same when it is drawn again.
    done = {name: stage for name, stage in record.status.get("stages", {}).items() if name != "report"}
    rows = tuple(
        (
            text_cell(stage["name"]),
            Cell(duration(done[stage["name"]]["seconds"]), sort=done[stage["name"]]["seconds"])
            if stage["name"] in done and "seconds" in done[stage["name"]]
            else Cell("this page" if stage["name"] == "report" else "not finished", tone="muted"),
        )
        for stage in record.plan["stages"]
    )
    seconds = seconds_of_steps([event for event in record.metrics if event["event"] == "step"])
    caption = "Time of each stage, start of its process included."
    if seconds is not None:
        caption += f" The optimiser steps alone took {duration(seconds)}."
    return Table(caption, (Column("Stage"), Column("Time", number=True)), rows)


def _learned_from(record: RunRecord) -> list[Block]:
    """Return which modules train, the share of tokens that carry loss, and the first record marked."""
    last = {(event["event"], event.get("split")): event for event in record.events}
    modules, data = last.get(("modules", None)), last.get(("dataset", "train"))
    if modules is None or data is None:
        return []
    names = ", ".join(modules["names"][:6]) + (" and so on" if len(modules["names"]) > 6 else "")
    return [
        Heading("What is learned, and from what"),
        Text(
            (
                f"{modules['trainable']:,} of {modules['total']:,} parameters ({modules['share']:.2%}) are trained, in "
                + ", ".join(
                    f"{count:,} modules of group {group}" for group, count in modules["matched"].items()
                )
                + f": {names}.",
                f"{data['label_tokens']:,} of {data['tokens']:,} tokens ({data['label_share']:.1%}) carry loss."
                + (
                    f" {NO_EXAMPLES}"
                    if record.examples == "none"
                    else " The first record, with what carries loss between \u27e6 and \u27e7:"
                ),
            )
        ),
        *_first_record(data["first"], record.examples),
    ]


def _first_record(first: str, how: Examples) -> list[Block]:
    """Return a record with marks around what carries loss; redacted, the count of words of each part."""
    if how == "none":
        return []
    if how == "full":
        return [Text(tuple(first.splitlines()), "code")]
    parts = re.split("([\u27e6\u27e7])", first)
    return [Text(("".join(part if part in "\u27e6\u27e7" else redacted(part) for part in parts),), "code")]


# ------------------------------------------------------------------------------------- environment


def environment_section(record: RunRecord) -> Section:
    """Return machine, packages, commit, and the whole spec with where each value came from."""
    found = record.environment
    machine = record.plan["machine"]
    packages: Json = found.get("packages", {})
    git = found.get("git") or {}
    pairs = [
        ("machine", _machine(machine)),
        ("device", f"{record.plan['device']}, precision {record.spec['train']['precision']}"),
        ("system", str(found.get("platform", "not recorded"))),
        ("Python", str(found.get("python", "not recorded")).partition(" (")[0]),
        ("runner", str(found.get("runner", "not recorded"))),
        ("commit", _commit(git)),
        ("started", str(found.get("time", "not recorded"))),
    ]
    shown = tuple((text_cell(name), text_cell(packages[name])) for name in KEY_PACKAGES if name in packages)
    every = tuple(f"{name} {version}" for name, version in packages.items())
    columns = (Column("Package"), Column("Version", code=True))
    blocks: list[Block] = [
        Pairs(tuple(pairs)),
        Table("The packages that matter most.", columns, shown),
        Details(f"All {len(every):,} packages", (Text((", ".join(every),), "code"),), printed=False),
    ]
    if record.resolved:
        summary = "The spec in full: every value, and the place it came from"
        blocks.append(Details(summary, (Text((record.resolved,), "code"),), printed=False))
    return Section("environment", "Environment", tuple(blocks))


def _machine(machine: Json) -> str:
    gpus = machine["gpus"]
    parts = [f"{machine['system']}, {machine['cpus']} CPUs, {machine['memory_gib']:g} GiB of memory"]
    if gpus:
        parts.append(f"{gpus} x {machine['gpu_name']} ({machine['gpu_memory_gib']:g} GiB)")
    return ", ".join([*parts, *([] if gpus else ["no GPU"])])


def _commit(git: Json) -> str:
    if not git.get("commit"):
        return "not recorded"
    changed = len(git.get("changed", ()))
    return str(git["commit"])[:12] + (f", with {changed} changed files" if changed else ", unchanged")


def settings_pairs(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Return method and optimisation as the spec has them, for the card."""
    spec = record.spec
    sections = {"method": spec["method"], "train": spec["train"]}
    return tuple((path, str(value)) for path, value in flat(sections) if value is not None)
