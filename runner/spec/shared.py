"""Sections that every kind of spec has: machine, report, tracking, sweep and published numbers."""

from typing import Annotated, Any, Literal

from pydantic import Field

from runner.spec.section import Section, key

# ------------------------------------------------------------------------------------------- compute


class Compute(Section):
    """The machine that the run wants."""

    device: Literal["auto", "cuda", "mps", "cpu"] = key(
        "auto", "Kind of device; `auto` takes a GPU where there is one."
    )
    nodes: int = key(1, "Machines.", unit="nodes", ge=1, le=100_000)
    gpus: int = key(1, "Devices per node, one process each; on CPU the processes.", ge=1, le=4_096)
    gpu: str | None = key(None, "Wanted type of GPU, compared with what the machine has (A100, ...).")
    strategy: Literal["none", "ddp", "zero1", "zero2", "zero3", "zero3_offload"] = key(
        "none", "How several devices share the work; the zero stages are DeepSpeed's."
    )
    target: Literal["local"] = key("local", "Where the stages run.")


# ----------------------------------------------------------------------------------- report, tracking


Examples = Literal["none", "redacted", "full"]
"""How much of single records a page shows."""


class Report(Section):
    """The page at the end of the run."""

    title: str | None = key(None, "Heading; without it the spec's `name`.")
    notes: str | None = key(None, "A paragraph printed under the heading.")
    examples: Literal["by_source", "none", "redacted", "full"] = key(
        "by_source",
        "Whether the page shows records: `none`, `redacted` (how many words there are, and which carry loss) or "
        "`full`. `by_source` is `full` where the source says that it holds no patients (medquad, invented records), "
        "and `none` otherwise. The model card holds no record whatever stands here.",
    )


class Mlflow(Section):
    """MLflow tracking."""

    uri: str = key(
        description="Tracking address or local folder.", min_length=1, form="hub-or-path", placeholder=True
    )
    experiment: str = key(description="Experiment name.", min_length=1, placeholder=True)


class Wandb(Section):
    """Weights & Biases tracking."""

    project: str = key(description="Project name.", min_length=1, placeholder=True)
    entity: str | None = key(None, "Team or user.", placeholder=True)
    mode: Literal["offline", "online"] = key("offline", "`online` sends metrics off the machine.")


class Tracking(Section):
    """Where metrics go besides the run directory. Everything is off unless asked for."""

    tensorboard: bool = key(False, "Write TensorBoard files into the run directory.")
    mlflow: Mlflow | None = key(None, "MLflow tracking.")
    wandb: Wandb | None = key(None, "Weights & Biases tracking.")


# --------------------------------------------------------------------------------------------- sweep


class Sweep(Section):
    """Named variants of this spec, each launched as a run of its own."""

    axes: dict[str, tuple[Any, ...]] = key(
        {}, "Spec path -> values; every combination is an arm (`method.rank: [16, 32]`)."
    )
    arms: dict[str, dict[str, Any]] = key(
        {}, "Arm name -> spec paths and values; a list or a mapping replaces what stands at the path."
    )
    seeds: tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...] = key(
        (), "Each arm once per value of `train.seed`."
    )
    control: str | None = key(
        None,
        "The arm that the others are compared with, by its name without a seed; without it, and without "
        "`controls`, the first.",
    )
    controls: dict[str, str] = key(
        {}, "Arm -> the arm that it is compared with, where each has a control of its own."
    )


# ----------------------------------------------------------------------------------------- reference


class Published(Section):
    """One published number."""

    metric: str = key(
        description="Name of the metric, as the report names it (perplexity, loss, ...).", min_length=1
    )
    value: float = key(description="The published value after tuning.", ge=-1e12, le=1e12)
    baseline: float | None = key(None, "The published value before tuning.", ge=-1e12, le=1e12)
    unit: str | None = key(None, "Unit of the value, where it has one.")
    split: Literal["train", "validation", "test"] = key("test", "The records it was measured on.")
    comparable: Literal["yes", "partly", "no"] = key(
        description="Whether the measured number answers the same question."
    )
    note: str | None = key(None, "Why it is or is not comparable.")


class Reference(Section):
    """The published result that the measured one is set beside."""

    source: str = key(description="Where the numbers were published.", min_length=1)
    notes: tuple[str, ...] = key((), "What is known or suspected about the published numbers.")
    metrics: tuple[Published, ...] = key(description="The numbers.", min_length=1)
