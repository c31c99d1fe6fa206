"""The rules between the fields of `kind: ecg`: one table, as `runner.spec.rules` is for language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.spec.ecg_facts import ATTRIBUTES, LEADS, NETWORKS, devices, rate_of, shape_after, trainings
from runner.spec.ecg_method_rules import (
    adapters_fit,
    batches_fit,
    coef_is_a_line,
    compat_says_what_runs,
    hybrid_fits,
    in_place_is_sgd,
)
from runner.spec.nearest import nearest
from runner.spec.rule import Broken, Rule
from runner.spec.section import given
from runner.spec.yaml_text import Path

if TYPE_CHECKING:
    from runner.spec.ecg import EcgSpec
    from runner.spec.ecg_methods import EcgMethod, ZerothOrder


# ------------------------------------------------------------------------------------------- signals


def _subgroups_are_known(spec: EcgSpec) -> Broken:
    known = ATTRIBUTES[spec.data.source]
    for number, task in enumerate(spec.evaluate):
        for place, name in enumerate(task.subgroups):
            if name not in known:
                near = nearest(name, known)
                path = ("evaluate", number, "subgroups", place)
                yield (
                    path,
                    f"no record of {spec.data.source} has {name!r}" + (f"; nearest: {near}" if near else ""),
                )


def _one_length(spec: EcgSpec) -> Broken:
    for path, _, _, train in trainings(spec):
        if train.epochs is not None and train.steps is not None:
            given = f"epochs {train.epochs:g} and steps {train.steps} are both given"
            yield (*path, "train", "steps"), given
        if train.epochs is None and train.steps is None:
            yield (*path, "train"), "neither epochs nor steps is given"


def _length_fits(spec: EcgSpec) -> Broken:
    samples, fs_hz = shape_after(spec.data)
    if samples is None:
        yield ("data", "pipeline"), "recordings would come out with different lengths"
        return
    for path, model, _, _ in trainings(spec):
        network = NETWORKS[model.backbone]
        too_long = network.longest is not None and samples > network.longest
        if samples % network.divisor or samples < network.shortest or too_long:
            yield ("data", "pipeline"), _length_wrong(samples, (*path, "model"), model.backbone)
    if fs_hz is None:
        yield ("data", "pipeline"), "recordings would come out with different sampling rates"


def _length_wrong(samples: int, path: Path, backbone: str) -> str:
    network = NETWORKS[backbone]
    most = "" if network.longest is None else f", at most {network.longest}"
    takes = (
        f"a multiple of {network.divisor}{most}" if network.divisor > 1 else f"at least {network.shortest}"
    )
    whose = "the teacher's " if path[0] == "distill" else ""
    return f"recordings of {samples} samples; {whose}{backbone} takes {takes}"


def _filter_fits(spec: EcgSpec) -> Broken:
    fs_hz = rate_of(spec.data)
    for number, step in enumerate(spec.data.pipeline):
        if step.step == "resample":
            fs_hz = step.fs_hz
        if step.step != "filter":
            continue
        path = ("data", "pipeline", number)
        if step.low_hz >= step.high_hz:
            yield (*path, "low_hz"), f"{step.low_hz:g} Hz is not below high_hz {step.high_hz:g} Hz"
        elif fs_hz is not None and step.high_hz >= fs_hz / 2:
            yield (*path, "high_hz"), f"{step.high_hz:g} Hz in recordings of {fs_hz:g} Hz"


def _named_once(spec: EcgSpec) -> Broken:
    lists: list[tuple[Path, Any]] = [(("model", "leads"), spec.model.leads)]
    lists.append((("data", "classes"), spec.data.classes or ()))
    for name in ("databases", "parts", "file_leads", "label_columns"):
        lists.append((("data", name), getattr(spec.data, name, None) or ()))
    for path, names in lists:
        for number, name in enumerate(names):
            if name in names[:number]:
                yield (*path, number), f"{name!r} stands twice"


# --------------------------------------------------------------------------------------------- split


def _split_says_one_thing(spec: EcgSpec) -> Broken:
    split, path = spec.data.split, ("data", "split")
    shares = (split.train, split.validation, split.test)
    given = [share for share in shares if share is not None]
    if split.by == "patient":
        if given and split.finetune_label_ratio is not None:
            yield (*path, "finetune_label_ratio"), "given beside shares of train, validation and test"
        elif split.finetune_label_ratio is None and len(given) < len(shares):
            yield path, f"{len(given)} of the three shares, and no finetune_label_ratio"
        elif given and abs(sum(given) - 1) > 1e-6:
            yield path, f"the shares add up to {sum(given):g}"
        elif split.finetune_label_ratio == 1:
            yield (*path, "finetune_label_ratio"), "1: nobody would be left for the test"
    elif given:
        yield path, f"shares of train, validation and test with `by: {split.by}`"
    if split.by == "record" and not (split.finetune_label_ratio and split.finetune_label_ratio < 1):
        yield path, "`by: record` and no finetune_label_ratio below 1"


def _folds_fit(spec: EcgSpec) -> Broken:
    split, path = spec.data.split, ("data", "split")
    if split.by != "fold":
        if "folds" in given(split):
            yield (*path, "folds"), f"folds with `by: {split.by}`"
        return
    if spec.data.source not in ("ptbxl", "arrays"):
        yield (*path, "by"), f"{spec.data.source} is published without folds"
    folds = [("train", split.folds.train), ("validation", split.folds.validation), ("test", split.folds.test)]
    for number, (side, names) in enumerate(folds):
        for other, taken in folds[:number]:
            for fold in sorted(set(names) & set(taken)):
                yield (*path, "folds", side), f"fold {fold} stands in {other} too"


# ------------------------------------------------------------------------------- training and machine


def _aux_can_learn(spec: EcgSpec) -> Broken:
    left_out = getattr(spec.data, "unlabelled", "keep") == "leave_out"
    for path, _, method, train in trainings(spec):
        aux, place = train.aux, (*path, "train", "aux")
        if aux is None:
            continue
        upstream = method.name == "fusion" and method.compat == "upstream"
        if aux.target == "any_label":
            if aux.normal:
                yield (*place, "normal"), "given with `target: any_label`, which has no use for it"
            if left_out and not upstream:
                yield (*place, "target"), "any_label, and recordings without a label are left out: always 1"
        elif not aux.normal:
            yield place, "`target: abnormal` and no class is said to be normal: as good as any_label"
        for number, name in enumerate(aux.normal):
            if spec.data.classes is not None and name not in spec.data.classes:
                yield (*place, "normal", number), f"{name!r} is none of data.classes"


def _devices_fit(spec: EcgSpec) -> Broken:
    compute, count = spec.compute, devices(spec)
    if compute.nodes > 1:
        yield ("compute", "nodes"), f"{compute.nodes} nodes on this machine"
    if compute.strategy not in ("none", "ddp"):
        yield ("compute", "strategy"), f"{compute.strategy}, which is DeepSpeed's"
    elif (count > 1) != (compute.strategy == "ddp"):
        yield ("compute", "strategy"), f"{compute.strategy!r} with {count} device{'' if count == 1 else 's'}"
    for path, _, method, train in trainings(spec):
        yield from _method_is_shared((*path, "method"), method, count)
        if train.batch % count:
            yield (*path, "train", "batch"), f"{train.batch} does not divide by {count} devices"
    if compute.device == "mps":
        yield ("compute", "device"), "mps, which has no 64-bit numbers"


def _method_is_shared(path: Path, method: EcgMethod, count: int) -> Broken:
    size: int | None = getattr(method, "bp_batch", None)
    if size is not None and size % count:
        yield (*path, "bp_batch"), f"{size} does not divide by {count} devices"
    zo: ZerothOrder | None = getattr(method, "zo", None)
    if count > 1 and zo is not None and zo.bn == "batch":
        yield (*path, "zo", "bn"), f"batch on {count} devices, each of which has another part of it"


def needs_cuda(spec: EcgSpec) -> Broken:
    """Yield what a spec asks for that its device, the CPU, does not have."""
    if spec.compute.device == "cpu" and spec.compute.gpu is not None:
        yield ("compute", "gpu"), f"a GPU of type {spec.compute.gpu!r} on cpu"


def _distill_fits(spec: EcgSpec) -> Broken:
    distill = spec.distill
    if distill is None:
        return
    if (distill.teacher is None) == (distill.train_teacher is None):
        both = "both teacher and train_teacher are given"
        yield ("distill",), "neither teacher nor train_teacher is given" if distill.teacher is None else both
    if spec.method.name != "full":
        yield ("method", "name"), f"a student that is trained by {spec.method.name}"
    elif spec.method.micro_batch is not None:
        yield ("method", "micro_batch"), "given for a student, whose batches are not cut"
    if distill.leads != len(LEADS) and spec.model.leads != LEADS:
        yield ("distill", "leads"), f"{distill.leads} of twelve leads, but model.leads has others"
    teacher = distill.train_teacher
    if teacher is not None and teacher.model.leads != spec.model.leads:
        yield ("distill", "train_teacher", "model", "leads"), "not those of the student"


# ---------------------------------------------------------------------------------------- evaluation


def _tasks_fit(spec: EcgSpec) -> Broken:
    seen: set[str] = set()
    for number, task in enumerate(spec.evaluate):
        path = ("evaluate", number)
        if task.split in seen:
            yield path, f"{task.task} on {task.split} stands twice"
        seen.add(task.split)
        if task.thresholds == "validation" and task.split == "validation":
            yield (*path, "thresholds"), "fitted on the records that they are judged on"
        if task.challenge_score and spec.data.source != "cinc2021":
            yield (*path, "challenge_score"), f"classes of {spec.data.source} have no SNOMED CT codes"


RULES: tuple[Rule[EcgSpec], ...] = (
    Rule(
        "R070",
        "give exactly one of train.epochs and train.steps",
        "Two lengths contradict each other, and without one nobody knows how long the run is.",
        "keep the one you mean",
        _one_length,
    ),
    Rule(
        "R071",
        "the pipeline must end with one length and one sampling rate, which the backbone takes",
        "The convolution-transformer family shortens a recording 64-fold in two branches that must agree, and was "
        "trained for at most 6144 samples; xresnet1d101 halves five times.",
        "end with {step: pad_or_crop, samples: 6144}, and resample where the source has several rates",
        _length_fits,
    ),
    Rule(
        "R072",
        "a filter's band must lie below half of the sampling rate, its lower edge first",
        "Above half of the sampling rate nothing is left to pass.",
        "lower high_hz, or filter before resampling",
        _filter_fits,
    ),
    Rule(
        "R073",
        "leads, classes, databases and files are each named once",
        "What is named twice would be read, counted or predicted twice.",
        "take one of them out",
        _named_once,
    ),
    Rule(
        "R074",
        "a split has three shares that add up to 1, a finetune_label_ratio, or folds",
        "`by: patient` takes either; `by: record` is the published code's and takes its finetune_label_ratio alone; "
        "`by: fold` takes folds.",
        "write for example {by: patient, finetune_label_ratio: 0.1}",
        _split_says_one_thing,
    ),
    Rule(
        "R075",
        "folds belong to `by: fold` and to a source that is published with them, each on one side",
        "A fold on two sides is a patient on two sides.",
        "change the folds, or split by patient",
        _folds_fit,
    ),
    Rule(
        "R076",
        "adapters must name layers that the backbone has",
        "An adapter on nothing trains nothing. xresnet1d101 has `conv` and `head0`.",
        "change targets or the backbone",
        adapters_fit,
    ),
    Rule(
        "R077",
        "`hybrid` cuts a transformer between its blocks, or its tensors by a share",
        "With `inter` deep_blocks counts blocks of the backbone, with `intra` share is used; the other is not.",
        "take the family's backbone, lower deep_blocks, or take the other key out",
        hybrid_fits,
    ),
    Rule(
        "R078",
        "bp_batch must be a part of train.batch, and for addax leave records to probe",
        "The tiny batch is the first bp_batch records of each batch.",
        "lower bp_batch or raise train.batch",
        batches_fit,
    ),
    Rule(
        "R079",
        "the auxiliary head's target must vary: name the normal classes",
        "Published code asks whether a record has any label, after dropping those that have none: the target is "
        "always 1, and the head learns nothing.",
        "write {target: abnormal, normal: [NSR]}, or take train.aux out",
        _aux_can_learn,
    ),
    Rule(
        "R080",
        "with `compat: upstream` the options say what the published code executes",
        "It ignores what is configured: coef {kind: two_phase, first: 0.99, then: 0.9, switch: 0.2}, head tiny_batch, "
        "zo {bn: batch, restore: arithmetic, draws: 1, micro_batch: null, sparsity of kind upstream or none}.",
        "write these values, or take compat out",
        compat_says_what_runs,
    ),
    Rule(
        "R081",
        "a student is trained in full, under one teacher with the same leads",
        "The teacher comes from an earlier run, or is trained first. A subset of leads is one of the twelve in order.",
        "give teacher or train_teacher, method {name: full}, and the same leads",
        _distill_fits,
    ),
    Rule(
        "R082",
        "zeroth_order in place steps by plain SGD without clipping",
        "It never forms a gradient, so an optimiser's moments, and a norm to clip, do not exist.",
        "set train.optimizer: sgd without max_grad_norm, or method.update: optimiser",
        in_place_is_sgd,
    ),
    Rule(
        "R083",
        "coef must begin before it ends",
        "A line from a later to an earlier time has no meaning; for a jump there is two_phase.",
        "lower begin or raise until",
        coef_is_a_line,
    ),
    Rule(
        "R084",
        "several devices train by ddp, with a batch and a bp_batch that they divide",
        "Each takes its equal part of every batch, and of its first bp_batch records. Zeroth-order methods probe by "
        "stored statistics: those of a part would differ from device to device. Our trainer computes on CPU and CUDA.",
        "change compute, train.batch, method.bp_batch or method.zo.bn",
        _devices_fit,
    ),
    Rule(
        "R085",
        "each split is judged once, with thresholds from other records, and the challenge's score on its codes",
        "A threshold fitted on the records that it is judged on makes decisions look better than they are.",
        "judge the test records, take thresholds: half, or read a source of the challenge",
        _tasks_fit,
    ),
    Rule(
        "R117",
        "sub-groups are made by what the records say: age_band, sex, site, age, and fold where a table has it",
        "By anything else there is nothing to group; it would be found out after the data and a first evaluation.",
        "take one of these, or take the name out",
        _subgroups_are_known,
    ),
    Rule(
        "R086",
        "this needs a CUDA device",
        "What the spec asks for does not exist on the device that it names.",
        "set compute.device to cuda or auto, or take it out",
        needs_cuda,
    ),
)
