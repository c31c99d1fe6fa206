"""The typed spec: the one definition of every key, its unit, its default and its meaning.

`runner schema` writes the JSON Schema files from these classes, `docs/spec.md` is made from their
descriptions, and `runner.spec.load` checks files with them. A default is written here and nowhere
else. Lists are tuples and every class is frozen, so a loaded spec cannot change.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

TINY_RANDOM = "tiny-random"
"""The word under `model.base` that asks for a small random model of the architecture."""

FORMAT = 1
"""The version of the spec format that this release reads and writes."""


class Section(BaseModel):
    """A mapping of the spec. Unknown keys are errors; types are not coerced."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )


def _key(
    default: Any = ...,
    description: str = "",
    *,
    unit: str | None = None,
    form: Literal["path", "hub-or-path"] | None = None,
    placeholder: bool = False,
    **constraints: Any,
) -> Any:
    """Return a pydantic field; `unit`, `form` and `placeholder` go into the JSON Schema and the docs.

    `form` marks text that may name a local file: a `path` always does, `hub-or-path` where it
    starts with `./`, `../`, `/` or `~/`. `placeholder` marks free text that a stage alone reads, and
    in which `${env:NAME}` may therefore stay; any other free text refuses it.
    """
    extra: dict[str, Any] = {"unit": unit} if unit else {}
    extra |= {"form": form} if form else {}
    extra |= {"placeholder": True} if placeholder else {}
    return Field(default, description=description, json_schema_extra=extra or None, **constraints)


# --------------------------------------------------------------------------------------------- model


class Model(Section):
    """The pretrained model that is tuned."""

    base: str = _key(
        description="Hub id of the pretrained model, or a local folder (starts with `./`, `../` or "
        "`/`, relative to the spec). `tiny-random` builds a few random layers of `architecture` and "
        "a tokenizer from the spec's own data, as a rehearsal does.",
        min_length=1,
        form="hub-or-path",
        placeholder=True,
    )
    revision: str | None = _key(
        None, "Commit, tag or branch on the hub. A full commit hash makes the run repeatable."
    )
    architecture: str = _key(
        description="Hugging Face `model_type` of the base (gpt2, llama, gemma3_text, qwen2, "
        "qwen3, ...). Names the modules that a method touches, and what a rehearsal shrinks.",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
    )
    tokenizer: str | None = _key(
        None,
        "Hub id or local folder (`./`, `../`, `/`) of another tokenizer; without it, that of `model.base`.",
        form="hub-or-path",
        placeholder=True,
    )
    context: int = _key(
        description="Longest sequence trained on; longer records are cut and counted.",
        unit="tokens",
        ge=8,
    )
    attention: Literal["eager", "sdpa", "flash_attention_2"] = _key(
        "sdpa", "Attention implementation. flash_attention_2 needs a GPU and the flash-attn package."
    )
    adapter: str | None = _key(
        None,
        "Local folder or hub id of a LoRA adapter to go on from; only with a LoRA method.",
        form="hub-or-path",
        placeholder=True,
    )
    trust_remote_code: bool = _key(
        False, "Run Python code shipped with the model. Refused unless `model.revision` is a commit."
    )


# ---------------------------------------------------------------------------------------------- data


class Split(Section):
    """How records are divided: three counts, or three ratios that add up to 1."""

    train: int | float | None = _key(None, "Records for training: a count (350) or a ratio (0.8).", gt=0)
    validation: int | float | None = _key(
        None, "Records for validation while training: a count or a ratio; 0 for none.", ge=0
    )
    test: int | float | None = _key(
        None, "Records for the final evaluation: a count or a ratio; 0 for none.", ge=0
    )
    by: Literal["record", "question", "focus", "group", "given"] = _key(
        description="What must not be on two sides of the split: `focus` (the disease or drug), "
        "`question` (the same wording), `group` (the record's own `group` value), or `record` "
        "(each record alone). `given` takes each record's own `split` value, and no sizes."
    )
    seed: int = _key(42, "Seed of the shuffle before the split; a generator of its own.", ge=0)


class Filter(Section):
    """Which records are left out before the split. Each dropped record is counted with its reason."""

    min_answer_words: int = _key(0, "Drop records whose last answer is shorter.", unit="words", ge=0)
    max_answer_words: int | None = _key(None, "Drop records whose last answer is longer.", unit="words", gt=0)
    deduplicate: bool = _key(True, "Drop records whose messages are equal to an earlier record's.")


class SourceSection(Section):
    """Options of one data source. `NAME` is the word that selects it."""


class MedquadSource(SourceSection):
    """MedQuAD, the XML files of the public repository (Ben Abacha, Demner-Fushman 2019)."""

    source: Literal["medquad"] = _key(description="The word that selects this source.")
    root: str = _key(
        description="Folder that holds the collections (1_CancerGov_QA, ...), relative to the spec.",
        min_length=1,
        form="path",
        placeholder=True,
    )
    collections: tuple[str, ...] = _key(
        (), "Names of the collection folders to read; empty: every folder with XML files."
    )
    damaged_files: int = _key(
        0,
        "How many unreadable XML files are dropped, named and counted; one more is an error.",
        unit="files",
        ge=0,
    )


class MessagesSource(SourceSection):
    """JSON lines, one record a line: `{"messages": [{"role", "content"}, ...]}`."""

    source: Literal["messages"] = _key(description="The word that selects this source.")
    path: str = _key(
        description="A .jsonl file, or a folder of them, relative to the spec. A record may carry "
        "`id`, `group`, `question`, `focus` and `split` beside `messages`.",
        min_length=1,
        form="path",
        placeholder=True,
    )


class HuggingfaceSource(SourceSection):
    """A data set of the Hugging Face hub, or a local folder in the same form."""

    source: Literal["huggingface"] = _key(description="The word that selects this source.")
    id: str = _key(
        description="Hub id, or a local folder or file, relative to the spec.",
        min_length=1,
        form="hub-or-path",
        placeholder=True,
    )
    revision: str | None = _key(None, "Commit, tag or branch of the data set on the hub.")
    subset: str | None = _key(None, "Configuration of the data set, where it has several.")
    part: str = _key("train", "The data set's own split to read records from.")
    messages_column: str | None = _key(
        None, "Column that holds a list of messages. Either this, or the two below."
    )
    question_column: str | None = _key(None, "Column that holds the question.")
    answer_column: str | None = _key(None, "Column that holds the answer.")
    group_column: str | None = _key(None, "Column whose value becomes the record's group.")


class SyntheticSource(SourceSection):
    """Invented medical questions with consistent answers: for trying things out, not for medicine."""

    source: Literal["synthetic_medical_qa"] = _key(description="The word that selects this source.")
    records: int = _key(description="How many records are generated.", unit="records", ge=10)
    seed: int = _key(0, "Seed of the generator.", ge=0)


class MedquadComponent(MedquadSource):
    """MedQuAD as one part of a mixture."""

    take: int | None = _key(None, "How many records of this part; all without it.", gt=0)


class MessagesComponent(MessagesSource):
    """A messages file as one part of a mixture."""

    take: int | None = _key(None, "How many records of this part; all without it.", gt=0)


class HuggingfaceComponent(HuggingfaceSource):
    """A hub data set as one part of a mixture."""

    take: int | None = _key(None, "How many records of this part; all without it.", gt=0)


class SyntheticComponent(SyntheticSource):
    """Invented questions as one part of a mixture."""

    take: int | None = _key(None, "How many records of this part; all without it.", gt=0)


Component = Annotated[
    MedquadComponent | MessagesComponent | HuggingfaceComponent | SyntheticComponent,
    Field(discriminator="source"),
]


class MixtureSource(SourceSection):
    """Several sources read one after another and shuffled by the split."""

    source: Literal["mixture"] = _key(description="The word that selects this source.")
    components: tuple[Component, ...] = _key(description="The parts, each a source.", min_length=1)


class DataCommon(Section):
    """What every data source has in common."""

    template: Literal["tokenizer", "question_answer", "chatml", "gemma3", "llama3", "qwen3"] = _key(
        description="How messages become text. `tokenizer`: the chat template that comes with the "
        "tokenizer; `question_answer`: 'Question: ... Answer: ...' for models without one."
    )
    system_prompt: str | None = _key(
        None, "A system message put before every record that has none of its own."
    )
    split: Split = _key(description="How records are divided.")
    filter: Filter = _key(Filter(), "Which records are left out before the split.")


class MedquadData(DataCommon, MedquadSource):
    """MedQuAD and how it is used."""


class MessagesData(DataCommon, MessagesSource):
    """A messages file and how it is used."""


class HuggingfaceData(DataCommon, HuggingfaceSource):
    """A hub data set and how it is used."""


class SyntheticData(DataCommon, SyntheticSource):
    """Invented questions and how they are used."""


class MixtureData(DataCommon, MixtureSource):
    """A mixture of sources and how it is used."""


Data = Annotated[
    MedquadData | MessagesData | HuggingfaceData | SyntheticData | MixtureData,
    Field(discriminator="source"),
]

# -------------------------------------------------------------------------------------------- method

ModuleGroup = Literal["language.attention", "language.mlp", "lm_head", "embeddings"]


class Full(Section):
    """Every weight is trained."""

    name: Literal["full"] = _key(description="The word that selects this method.")


class LoraCommon(Section):
    """Low-rank adapters: which modules get one, and how large."""

    rank: int = _key(description="Rank of each adapter.", ge=1)
    alpha: int = _key(description="Scale of the adapters; they are multiplied by alpha / rank.", ge=1)
    dropout: float = _key(0.0, "Dropout before each adapter.", ge=0, lt=1)
    include: tuple[ModuleGroup, ...] = _key(
        ("language.attention", "language.mlp"),
        "Module groups that get an adapter. A group that matches nothing is an error.",
    )
    exclude: tuple[ModuleGroup, ...] = _key((), "Module groups left out of `include`.")
    modules: str | None = _key(
        None,
        "A regular expression over whole module names, instead of `include` and `exclude`.",
        min_length=1,
    )
    train_fully: tuple[Literal["lm_head", "embeddings"], ...] = _key(
        (), "Modules trained in full beside the adapters; each is a full copy in memory."
    )
    rank_stabilised: bool = _key(False, "Scale by alpha / sqrt(rank) (rsLoRA).")


class Lora(LoraCommon):
    """LoRA (Hu et al. 2021)."""

    name: Literal["lora"] = _key(description="The word that selects this method.")


class Dora(LoraCommon):
    """DoRA, LoRA with the magnitude of each weight trained apart (Liu et al. 2024)."""

    name: Literal["dora"] = _key(description="The word that selects this method.")


class Qlora(LoraCommon):
    """LoRA on a base held in 4-bit nf4 (Dettmers et al. 2023). Needs a GPU and bitsandbytes."""

    name: Literal["qlora"] = _key(description="The word that selects this method.")


class Partial(Section):
    """Some weights are trained, the others are frozen; no adapter."""

    name: Literal["partial"] = _key(description="The word that selects this method.")
    include: tuple[ModuleGroup, ...] = _key((), "Module groups whose weights are trained.")
    parameters: tuple[str, ...] = _key(
        (),
        "Regular expressions over whole parameter names, beside `include`. Each is anchored at "
        "both ends, and `.` stands for a literal dot.",
    )


Method = Annotated[Full | Lora | Dora | Qlora | Partial, Field(discriminator="name")]

# --------------------------------------------------------------------------------------------- train


class Batch(Section):
    """How many records make one step."""

    micro: int = _key(description="Records per device and forward pass.", unit="records", ge=1)
    effective: int = _key(
        description="Records per optimiser step over all devices; accumulation is derived from it.",
        unit="records",
        ge=1,
    )


class Cadence(Section):
    """How often something happens: in steps, or in epochs."""

    steps: int | None = _key(None, "Every so many optimiser steps.", unit="steps", ge=1)
    epochs: float | None = _key(None, "Every so many epochs, rounded to whole steps.", unit="epochs", gt=0)


class EarlyStopping(Section):
    """Stop when the validation loss does not get better, and end with the best checkpoint."""

    patience: int = _key(
        description="Evaluations without a lower validation loss before training stops.",
        unit="evaluations",
        ge=1,
    )


class Loader(Section):
    """How batches reach the device."""

    workers: int = _key(0, "Processes that prepare batches, per device; 0: the trainer's own.", ge=0)
    prefetch: int | None = _key(
        None, "Batches prepared ahead per worker; only with workers.", unit="batches", ge=1
    )
    pin_memory: bool = _key(False, "Copy batches through page-locked memory (GPU only).")


class Train(Section):
    """The optimisation."""

    epochs: float | None = _key(None, "Passes over the training records.", unit="epochs", gt=0)
    steps: int | None = _key(None, "Optimiser steps, instead of `epochs`.", unit="steps", ge=1)
    learning_rate: float = _key(description="Highest learning rate.", gt=0)
    schedule: Literal["constant", "cosine", "linear"] = _key(
        "cosine", "How the learning rate falls after the warm-up."
    )
    warmup_steps: int | None = _key(
        None, "Steps in which the learning rate rises from 0.", unit="steps", ge=0
    )
    warmup_ratio: float | None = _key(
        None, "The same as a share of all steps, instead of `warmup_steps`.", ge=0, lt=1
    )
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "adamw_bnb_8bit", "adafactor", "sgd"] = _key(
        "adamw_torch", "The optimiser, by its Hugging Face name."
    )
    beta1: float = _key(0.9, "Decay of Adam's first moment.", ge=0, lt=1)
    beta2: float = _key(0.999, "Decay of Adam's second moment.", ge=0, lt=1)
    epsilon: float = _key(1e-8, "Adam's epsilon.", gt=0)
    weight_decay: float = _key(0.0, "Decoupled weight decay.", ge=0)
    max_grad_norm: float = _key(1.0, "Gradients are clipped to this norm.", gt=0)
    batch: Batch = _key(description="How many records make one step.")
    precision: Literal["fp32", "bf16", "fp16"] = _key(
        description="Number format of the forward and backward pass. With bf16, full and partial tuning "
        "hold the trained weights and Adam's moments in bf16 too, unless a zero strategy keeps fp32 masters."
    )
    gradient_checkpointing: bool = _key(
        False, "Recompute activations in the backward pass: less memory, more time."
    )
    log_every: int = _key(1, "A metrics event every so many steps.", unit="steps", ge=1)
    evaluate_every: Cadence | None = _key(
        None, "How often the validation records are evaluated; without it only at the end."
    )
    save_every: Cadence | None = _key(None, "How often a checkpoint is written; without it only at the end.")
    keep_checkpoints: int = _key(2, "How many checkpoints stay on disk.", unit="checkpoints", ge=1)
    keep_best: bool = _key(False, "End with the checkpoint of the lowest validation loss, not the last one.")
    early_stopping: EarlyStopping | None = _key(None, "Stop when validation stops improving.")
    seed: int = _key(42, "Seed of initialisation, order of records and dropout.", ge=0)
    loader: Loader = _key(Loader(), "How batches reach the device.")


# ------------------------------------------------------------------------------------------- compute


class Compute(Section):
    """The machine that the run wants."""

    device: Literal["auto", "cuda", "mps", "cpu"] = _key(
        "auto", "Kind of device; `auto` takes a GPU where there is one."
    )
    nodes: int = _key(1, "Machines.", unit="nodes", ge=1)
    gpus: int = _key(1, "Devices per node, one process each; on CPU the processes.", ge=1)
    gpu: str | None = _key(None, "Wanted type of GPU, compared with what the machine has (A100, ...).")
    strategy: Literal["none", "ddp", "zero1", "zero2", "zero3", "zero3_offload"] = _key(
        "none", "How several devices share the work; the zero stages are DeepSpeed's."
    )
    target: Literal["local"] = _key("local", "Where the stages run.")


# ------------------------------------------------------------------------------- evaluate, reference


class PerplexityTask(Section):
    """Held-out loss over the answer's tokens, perplexity and bits per byte."""

    task: Literal["perplexity"] = _key(description="The word that selects this task.")
    split: Literal["validation", "test"] = _key("test", "Which records are judged.")
    records: int | None = _key(None, "Only the first so many records.", unit="records", gt=0)
    batch: int = _key(8, "Records per forward pass.", unit="records", ge=1)


Task = PerplexityTask


class Published(Section):
    """One published number."""

    metric: str = _key(
        description="Name of the metric, as the report names it (perplexity, loss, ...).", min_length=1
    )
    value: float = _key(description="The published value after tuning.")
    baseline: float | None = _key(None, "The published value before tuning.")
    unit: str | None = _key(None, "Unit of the value, where it has one.")
    split: Literal["train", "validation", "test"] = _key("test", "The records it was measured on.")
    comparable: Literal["yes", "partly", "no"] = _key(
        description="Whether the measured number answers the same question."
    )
    note: str | None = _key(None, "Why it is or is not comparable.")


class Reference(Section):
    """The published result that the measured one is set beside."""

    source: str = _key(description="Where the numbers were published.", min_length=1)
    notes: tuple[str, ...] = _key((), "What is known or suspected about the published numbers.")
    metrics: tuple[Published, ...] = _key(description="The numbers.", min_length=1)


# ----------------------------------------------------------------------------------- report, tracking


class Report(Section):
    """The page at the end of the run."""

    title: str | None = _key(None, "Heading; without it the spec's `name`.")
    notes: str | None = _key(None, "A paragraph printed under the heading.")


class Mlflow(Section):
    """MLflow tracking."""

    uri: str = _key(
        description="Tracking address or local folder.", min_length=1, form="hub-or-path", placeholder=True
    )
    experiment: str = _key(description="Experiment name.", min_length=1, placeholder=True)


class Wandb(Section):
    """Weights & Biases tracking."""

    project: str = _key(description="Project name.", min_length=1, placeholder=True)
    entity: str | None = _key(None, "Team or user.", placeholder=True)
    mode: Literal["offline", "online"] = _key("offline", "`online` sends metrics off the machine.")


class Tracking(Section):
    """Where metrics go besides the run directory. Everything is off unless asked for."""

    tensorboard: bool = _key(False, "Write TensorBoard files into the run directory.")
    mlflow: Mlflow | None = _key(None, "MLflow tracking.")
    wandb: Wandb | None = _key(None, "Weights & Biases tracking.")


# --------------------------------------------------------------------------------------------- sweep


class Sweep(Section):
    """Named variants of this spec, each launched as a run of its own."""

    axes: dict[str, tuple[bool | int | float | str, ...]] = _key(
        {}, "Spec path -> values; every combination is an arm (`method.rank: [16, 32]`)."
    )
    arms: dict[str, dict[str, bool | int | float | str]] = _key({}, "Arm name -> spec paths and values.")
    seeds: tuple[int, ...] = _key((), "Each arm once per value of `train.seed`.")


# ---------------------------------------------------------------------------------------------- spec


class LlmSpec(Section):
    """An experiment that tunes a language model with Axolotl."""

    BACKEND: ClassVar[str] = "axolotl"

    spec: Literal[1] = _key(description="Version of the spec format.")
    name: str = _key(
        description="Names the runs folder; lower case letters, digits, `-` and `_`.",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
    )
    kind: Literal["llm"] = _key(description="Kind of experiment: a language model.")
    summary: str = _key("", "One sentence: what is tuned on what, and why.")
    model: Model = _key(description="The pretrained model that is tuned.")
    data: Data = _key(description="The records, how they become text, and how they are divided.")
    method: Method = _key(description="Which weights are trained.")
    train: Train = _key(description="The optimisation.")
    compute: Compute = _key(Compute(), "The machine that the run wants.")
    evaluate: tuple[Task, ...] = _key((), "How the tuned model is judged.")
    reference: Reference | None = _key(None, "The published result set beside the measured one.")
    sweep: Sweep | None = _key(None, "Named variants of this spec.")
    report: Report = _key(Report(), "The page at the end of the run.")
    tracking: Tracking = _key(Tracking(), "Where metrics go besides the run directory.")
    axolotl: dict[str, Any] = _key(
        {}, "Raw Axolotl keys, checked against Axolotl's own schema; none that the spec has a word for."
    )
    deepspeed: dict[str, Any] = _key(
        {}, "Raw DeepSpeed keys laid over the strategy's file, checked against DeepSpeed's own classes."
    )


Spec = LlmSpec
"""Any spec; a union once there is more than one kind."""

KINDS: Mapping[str, type[Section]] = MappingProxyType({"llm": LlmSpec})
"""Word under `kind` -> the class that checks it."""
