"""The typed spec of `kind: ecg`: an ECG foundation model tuned by our own PyTorch (`runner.native`)."""

from typing import ClassVar, Literal

from runner.spec.ecg_methods import EcgMethod
from runner.spec.ecg_sources import EcgData, Lead
from runner.spec.section import Section, key
from runner.spec.shared import Compute, Reference, Report, Sweep

BackboneName = Literal["tinylight", "tiny", "base", "medium", "mediumv2", "large", "xresnet1d101"]


class EcgModel(Section):
    """The network that is tuned."""

    backbone: BackboneName = key(
        description="`tinylight` to `large`: the convolution-transformer family of CE-SSL and H-Tuning, from 0.26 "
        "to 113 million weights. `xresnet1d101`: the strong baseline that needs no pre-training."
    )
    leads: tuple[Lead, ...] = key(
        ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"),
        "The leads that the network takes, in this order; they are found by name in each recording.",
        min_length=1,
    )
    checkpoint: str | None = key(
        None,
        "Weights to start from: a `.safetensors` file, a run directory, or a published `.pkl` or `.pt` file, "
        "which is read without running any code of it. A head for other classes starts anew. Without it, or "
        "with empty text: random weights.",
        form="path",
        placeholder=True,
    )


class Auxiliary(Section):
    """A second head that says whether a record has a finding, and its share of the loss."""

    weight: float = key(description="Weight of its loss.", gt=0, le=1_000_000)
    target: Literal["abnormal", "any_label"] = key(
        "abnormal",
        "`abnormal`: a class other than `normal` is set. `any_label`, as published: constant, and therefore "
        "refused, where recordings without a label are left out.",
    )
    normal: tuple[str, ...] = key((), "The classes that count as normal, by name (NSR, NORM).")


class EcgTrain(Section):
    """The optimisation. Master weights are in fp32, whatever the precision."""

    epochs: float | None = key(None, "Passes over the training records.", unit="epochs", gt=0, le=100_000)
    steps: int | None = key(None, "Optimiser steps, instead of `epochs`.", unit="steps", ge=1, le=100_000_000)
    batch: int = key(
        description="Records per optimiser step, over all devices.", unit="records", ge=1, le=10_000_000
    )
    learning_rate: float = key(description="Highest learning rate.", gt=0, le=10)
    schedule: Literal["constant", "linear", "cosine"] = key(
        "linear", "How the learning rate falls after the warm-up."
    )
    warmup_ratio: float = key(
        0.01, "Share of all steps in which the learning rate rises; rounded up.", ge=0, lt=1
    )
    optimizer: Literal["adamw", "sgd"] = key("adamw", "The optimiser; `sgd` has no momentum.")
    weight_decay: float = key(0.01, "Decoupled weight decay.", ge=0, le=10)
    decay: Literal["all", "matrices"] = key(
        "all", "What decays: everything, biases included, as published, or only what has two axes or more."
    )
    max_grad_norm: float | None = key(
        None,
        "Gradients are clipped to this norm; not at all without it.",
        gt=0,
        le=1e9,
    )
    precision: Literal["fp32", "bf16"] = key(
        "fp32",
        "Number format of passes with a graph, by autocast. Losses that are compared (zeroth order) are always in "
        "fp32: a perturbation would be lost in the rounding.",
    )
    aux: Auxiliary | None = key(None, "An auxiliary head.")
    cutmix: float | None = key(
        None,
        "CutMix of each batch, with this alpha of the Beta distribution (published: 0.75).",
        gt=0,
        le=1_000,
    )
    evaluate_every: int = key(
        50, "Steps between evaluations on the validation records.", unit="steps", ge=1, le=100_000_000
    )
    select: Literal["macro_map", "macro_auc"] = key(
        "macro_map",
        "Which metric of the validation records chooses the weights that are kept. A value that does not "
        "exist never counts as better.",
    )
    patience: int | None = key(
        None,
        "Stop after so many evaluations without a better one; without it all steps are made.",
        unit="evaluations",
        ge=1,
        le=100_000_000,
    )
    evaluation_batch: int = key(
        64, "Records per forward pass of an evaluation.", unit="records", ge=1, le=10_000_000
    )
    save_every: int = key(50, "Steps between checkpoints to resume from.", unit="steps", ge=1, le=100_000_000)
    log_every: int = key(1, "A metrics event every so many steps.", unit="steps", ge=1, le=100_000_000)
    seed: int = key(
        18, "Seed of initialisation, order of records, augmentation and directions.", ge=0, le=2**32 - 1
    )


class TaughtTeacher(Section):
    """A teacher that is trained first, in the same run, on the same split."""

    model: EcgModel = key(description="The teacher's network.")
    method: EcgMethod = key(description="Which of its weights are trained, and how.")
    train: EcgTrain = key(description="Its optimisation.")


class Distill(Section):
    """A student's training under a teacher: the spec's `model` is the student, and sees all leads or a few.

    loss = label_weight * objective(student, labels) + kd_weight * T^2 * BCE(student / T, sigmoid(teacher / T))
    """

    teacher: str | None = key(
        None,
        "An earlier run directory, or its `.safetensors` file. Either this or `train_teacher`.",
        form="path",
        placeholder=True,
        min_length=1,
    )
    train_teacher: TaughtTeacher | None = key(None, "A teacher that is trained first, in this run.")
    leads: Literal[12, 3, 1] = key(
        12, "How many leads the student sees: all, II with V1 and V5, or I. The others are 0."
    )
    label_weight: float = key(1.0, "Weight of the loss on the labels.", ge=0, le=1_000_000)
    kd_weight: float = key(1.0, "Weight of the loss against the teacher.", gt=0, le=1_000_000)
    temperature: float = key(1.0, "Both sides' logits are divided by it.", gt=0, le=1_000)


class SignalMultilabelTask(Section):
    """Any number of labels a recording: areas under curves from scores, and decisions at thresholds."""

    task: Literal["signal_multilabel"] = key(description="The word that selects this task.")
    split: Literal["validation", "test"] = key("test", "Which records are judged.")
    records: int | None = key(None, "Only the first so many records.", unit="records", gt=0, le=1_000_000_000)
    batch: int = key(64, "Records per forward pass.", unit="records", ge=1, le=10_000_000)
    thresholds: Literal["validation", "half"] = key(
        "validation",
        "`validation`: each class's threshold is the one with the highest F-beta on the validation records; a "
        "class without positives there gets 0.5, and is named. `half`: 0.5 for all.",
    )
    beta: float = key(
        2.0, "Of F-beta and G-beta: above 1 a missed label weighs more than a false one.", gt=0, le=1_000
    )
    challenge_score: bool = key(
        False, "Also the weighted score of the CinC 2021 challenge; the classes must have SNOMED CT codes."
    )
    subgroups: tuple[str, ...] = key(
        (), "Attributes of the records (sex, age_band, site) by whose values the results are also shown."
    )
    calibration_bins: int = key(10, "Bins of the calibration error and its table.", ge=2, le=100)


class EcgTracking(Section):
    """Where metrics go besides the run directory."""

    tensorboard: bool = key(False, "Write TensorBoard files into the run directory, beside `metrics.jsonl`.")


class EcgSpec(Section):
    """An experiment that tunes an ECG foundation model with our own trainer."""

    BACKEND: ClassVar[str] = "native"

    spec: Literal[1] = key(description="Version of the spec format.")
    name: str = key(
        description="Names the runs folder; lower case letters, digits, `-` and `_`.",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
    )
    kind: Literal["ecg"] = key(description="Kind of experiment: a model of ECG signals.")
    summary: str = key("", "One sentence: what is tuned on what, and why.")
    model: EcgModel = key(description="The network that is tuned.")
    data: EcgData = key(description="The recordings, what is done to them, and how they are divided.")
    method: EcgMethod = key(description="Which weights are trained, and how.")
    train: EcgTrain = key(description="The optimisation.")
    distill: Distill | None = key(None, "Train the model as the student of a teacher.")
    compute: Compute = key(Compute, "The machine that the run wants.")
    evaluate: tuple[SignalMultilabelTask, ...] = key((), "How the tuned model is judged.")
    reference: Reference | None = key(None, "The published result set beside the measured one.")
    sweep: Sweep | None = key(None, "Named variants of this spec.")
    tracking: EcgTracking = key(EcgTracking, "Where metrics go besides the run directory.")
    report: Report = key(Report, "The page at the end of the run.")
