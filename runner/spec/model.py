"""The typed spec of `kind: llm`, and what `kind: vlm` shares with it: the one definition of every key.

A key says its unit, its default and its meaning here.

`runner schema` writes the JSON Schema files from these classes, `docs/spec.md` is made from their
descriptions, and `runner.spec.load` checks files with them. A default is written here and nowhere
else. Lists are tuples and every class is frozen, so a loaded spec cannot change.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from runner.spec.section import Section, key
from runner.spec.shared import Compute, Reference, Report, Sweep, Tracking
from runner.spec.sources import Data, DataCommon
from runner.spec.tasks import Task

if TYPE_CHECKING:
    from runner.spec.vlm_sources import VlmDataCommon

TINY_RANDOM = "tiny-random"
"""The word under `model.base` that asks for a small random model of the architecture."""

FORMAT = 1
"""The version of the spec format that this release reads and writes."""


# --------------------------------------------------------------------------------------------- model


class Model(Section):
    """The pretrained model that is tuned."""

    base: str = key(
        description="Hub id of the pretrained model, or a local folder (starts with `./`, `../` or "
        "`/`, relative to the spec). `tiny-random` builds a few random layers of `architecture` and "
        "a tokenizer from the spec's own data, as a rehearsal does.",
        min_length=1,
        form="hub-or-path",
        placeholder=True,
    )
    revision: str | None = key(
        None, "Commit, tag or branch on the hub. A full commit hash makes the run repeatable."
    )
    architecture: str = key(
        description="Hugging Face `model_type` of the base (gpt2, llama, gemma3_text, qwen2, "
        "qwen3, ...). Names the modules that a method touches, and what a rehearsal shrinks.",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
    )
    tokenizer: str | None = key(
        None,
        "Hub id or local folder (`./`, `../`, `/`) of another tokenizer; without it, that of `model.base`.",
        form="hub-or-path",
        placeholder=True,
    )
    context: int = key(
        description="Longest sequence trained on; longer records are cut and counted.",
        unit="tokens",
        ge=8,
        le=10_000_000,
    )
    attention: Literal["eager", "sdpa", "flash_attention_2"] = key(
        "sdpa", "Attention implementation. flash_attention_2 needs a GPU and the flash-attn package."
    )
    adapter: str | None = key(
        None,
        "Local folder or hub id of a LoRA adapter to go on from; only with a LoRA method.",
        form="hub-or-path",
        placeholder=True,
    )
    trust_remote_code: bool = key(
        False, "Run Python code shipped with the model. Refused unless `model.revision` is a commit."
    )


# -------------------------------------------------------------------------------------------- method

ModuleGroup = Literal["language.attention", "language.mlp", "lm_head", "embeddings"]


class Full(Section):
    """Every weight is trained."""

    name: Literal["full"] = key(description="The word that selects this method.")


class LoraCommon(Section):
    """Low-rank adapters: which modules get one, and how large. Each kind of spec has its own module groups."""

    name: str = key(description="The word that selects this method.")
    rank: int = key(description="Rank of each adapter.", ge=1, le=65_536)
    alpha: int = key(
        description="Scale of the adapters; they are multiplied by alpha / rank.", ge=1, le=1_000_000
    )
    dropout: float = key(0.0, "Dropout before each adapter.", ge=0, lt=1)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    modules: str | None = key(
        None,
        "A regular expression over whole module names, instead of `include` and `exclude`.",
        min_length=1,
    )
    train_fully: tuple[str, ...] = ()
    rank_stabilised: bool = key(False, "Scale by alpha / sqrt(rank) (rsLoRA).")


class LlmGroups(LoraCommon):
    """Adapters on the parts of a language model."""

    include: tuple[ModuleGroup, ...] = key(
        ("language.attention", "language.mlp"),
        "Module groups that get an adapter. A group that matches nothing is an error.",
    )
    exclude: tuple[ModuleGroup, ...] = key((), "Module groups left out of `include`.")
    train_fully: tuple[Literal["lm_head", "embeddings"], ...] = key(
        (), "Modules trained in full beside the adapters; each is a full copy in memory."
    )


class Lora(LlmGroups):
    """LoRA (Hu et al. 2021)."""

    name: Literal["lora"] = key(description="The word that selects this method.")


class Dora(LlmGroups):
    """DoRA, LoRA with the magnitude of each weight trained apart (Liu et al. 2024)."""

    name: Literal["dora"] = key(description="The word that selects this method.")


class Qlora(LlmGroups):
    """LoRA on a base held in 4-bit nf4 (Dettmers et al. 2023). Needs a GPU and bitsandbytes."""

    name: Literal["qlora"] = key(description="The word that selects this method.")


class Partial(Section):
    """Some weights are trained, the others are frozen; no adapter."""

    name: Literal["partial"] = key(description="The word that selects this method.")
    include: tuple[str, ...] = ()
    parameters: tuple[str, ...] = key(
        (),
        "Regular expressions over whole parameter names, beside `include`. Each is anchored at "
        "both ends, and `.` stands for a literal dot.",
    )


class LlmPartial(Partial):
    """Some weights are trained, the others are frozen; no adapter."""

    include: tuple[ModuleGroup, ...] = key((), "Module groups whose weights are trained.")


Method = Annotated[Full | Lora | Dora | Qlora | LlmPartial, Field(discriminator="name")]

# --------------------------------------------------------------------------------------------- train


class Batch(Section):
    """How many records make one step."""

    micro: int = key(description="Records per device and forward pass.", unit="records", ge=1, le=10_000_000)
    effective: int = key(
        description="Records per optimiser step over all devices; accumulation is derived from it.",
        unit="records",
        ge=1,
        le=10_000_000,
    )


class Cadence(Section):
    """How often something happens: in steps, or in epochs."""

    steps: int | None = key(None, "Every so many optimiser steps.", unit="steps", ge=1, le=100_000_000)
    epochs: float | None = key(
        None, "Every so many epochs, rounded to whole steps.", unit="epochs", gt=0, le=100_000
    )


class EarlyStopping(Section):
    """Stop when the validation loss does not get better, and end with the best checkpoint."""

    patience: int = key(
        description="Evaluations without a lower validation loss before training stops.",
        unit="evaluations",
        ge=1,
        le=100_000_000,
    )


class Loader(Section):
    """How batches reach the device."""

    workers: int = key(
        0, "Processes that prepare batches, per device; 0: the trainer's own.", ge=0, le=10_000
    )
    prefetch: int | None = key(
        None,
        "Batches prepared ahead per worker; only with workers.",
        unit="batches",
        ge=1,
        le=10_000,
    )
    pin_memory: bool = key(False, "Copy batches through page-locked memory (GPU only).")


class Train(Section):
    """The optimisation."""

    epochs: float | None = key(None, "Passes over the training records.", unit="epochs", gt=0, le=100_000)
    steps: int | None = key(None, "Optimiser steps, instead of `epochs`.", unit="steps", ge=1, le=100_000_000)
    learning_rate: float = key(description="Highest learning rate.", gt=0, le=10)
    schedule: Literal["constant", "cosine", "linear"] = key(
        "cosine", "How the learning rate falls after the warm-up."
    )
    warmup_steps: int | None = key(
        None, "Steps in which the learning rate rises from 0.", unit="steps", ge=0, le=100_000_000
    )
    warmup_ratio: float | None = key(
        None, "The same as a share of all steps, instead of `warmup_steps`.", ge=0, lt=1
    )
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "adamw_bnb_8bit", "adafactor", "sgd"] = key(
        "adamw_torch", "The optimiser, by its Hugging Face name."
    )
    beta1: float = key(0.9, "Decay of Adam's first moment.", ge=0, lt=1)
    beta2: float = key(0.999, "Decay of Adam's second moment.", ge=0, lt=1)
    epsilon: float = key(1e-8, "Adam's epsilon.", gt=0, le=1)
    weight_decay: float = key(0.0, "Decoupled weight decay.", ge=0, le=10)
    max_grad_norm: float = key(1.0, "Gradients are clipped to this norm.", gt=0, le=1e9)
    batch: Batch = key(description="How many records make one step.")
    precision: Literal["fp32", "bf16", "fp16"] = key(
        description="Number format of the forward and backward pass. With bf16, full and partial tuning "
        "hold the trained weights and Adam's moments in bf16 too, unless a zero strategy keeps fp32 masters."
    )
    gradient_checkpointing: bool = key(
        False, "Recompute activations in the backward pass: less memory, more time."
    )
    log_every: int = key(1, "A metrics event every so many steps.", unit="steps", ge=1, le=100_000_000)
    evaluate_every: Cadence | None = key(
        None, "How often the validation records are evaluated; without it only at the end."
    )
    save_every: Cadence | None = key(None, "How often a checkpoint is written; without it only at the end.")
    keep_checkpoints: int = key(
        2, "How many checkpoints stay on disk.", unit="checkpoints", ge=1, le=1_000_000
    )
    keep_best: bool = key(False, "End with the checkpoint of the lowest validation loss, not the last one.")
    early_stopping: EarlyStopping | None = key(None, "Stop when validation stops improving.")
    seed: int = key(42, "Seed of initialisation, order of records and dropout.", ge=0, le=2**32 - 1)
    loader: Loader = key(Loader, "How batches reach the device.")


# ---------------------------------------------------------------------------------------------- spec


class AxolotlSpec(Section):
    """An experiment that Axolotl trains: the keys of its kinds, each of which says its own `kind`, data and method."""

    BACKEND: ClassVar[str] = "axolotl"

    spec: Literal[1] = key(description="Version of the spec format.")
    name: str = key(
        description="Names the runs folder; lower case letters, digits, `-` and `_`.",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
    )
    kind: str
    summary: str = key("", "One sentence: what is tuned on what, and why.")
    model: Model = key(description="The pretrained model that is tuned.")
    data: "DataCommon | VlmDataCommon"
    method: Full | LoraCommon | Partial
    train: Train = key(description="The optimisation.")
    compute: Compute = key(Compute, "The machine that the run wants.")
    evaluate: tuple[Task, ...] = key((), "How the tuned model is judged.")
    reference: Reference | None = key(None, "The published result set beside the measured one.")
    sweep: Sweep | None = key(None, "Named variants of this spec.")
    report: Report = key(Report, "The page at the end of the run.")
    tracking: Tracking = key(Tracking, "Where metrics go besides the run directory.")
    axolotl: dict[str, Any] = key(
        {}, "Raw Axolotl keys, checked against Axolotl's own schema; none that the spec has a word for."
    )
    deepspeed: dict[str, Any] = key(
        {}, "Raw DeepSpeed keys laid over the strategy's file, checked against DeepSpeed's own classes."
    )


class LlmSpec(AxolotlSpec):
    """An experiment that tunes a language model with Axolotl."""

    kind: Literal["llm"] = key(description="Kind of experiment: a language model.")
    data: Data = key(description="The records, how they become text, and how they are divided.")
    method: Method = key(description="Which weights are trained.")
