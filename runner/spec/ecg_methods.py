"""How the weights of an ECG model follow the loss: `method` of an ECG spec.

The words and options are those of `runner.native`; FUSION names what each is taken from.
"""

from typing import Annotated, Literal

from pydantic import Field

from runner.spec.section import Section, key

AdapterTarget = Literal["conv", "qkv", "proj", "ffn", "head0"]
Statistics = Literal["running", "batch"]


class Adapters(Section):
    """Low-rank adapters: which layers get one, and how large. The last layer of the head is always trained."""

    rank: int = key(description="Rank of each adapter.", ge=1, le=65_536)
    scale: float = key(1.0, "Factor on each adapter's product.", gt=0, le=1_000_000)
    targets: tuple[AdapterTarget, ...] = key(
        ("conv", "qkv", "ffn", "head0"), "Groups of layers that get an adapter.", min_length=1
    )
    train_bias: bool = key(True, "Train every bias too, those of the normalisations included.")
    path: Literal["low_rank", "dense"] = key(
        "low_rank", "`dense` builds weight + product at each forward, as published code does: more memory."
    )


class Sparsity(Section):
    """Zeroes part of each zeroth-order direction, drawn anew at each step."""

    fraction: float = key(description="Share of the entries that is zeroed.", ge=0, lt=1)
    per_tensor: dict[str, Annotated[float, Field(ge=0, le=1)]] = key(
        {}, "Parameter name -> another share for it."
    )
    kind: Literal["bernoulli", "exact", "upstream"] = key(
        "bernoulli",
        "`bernoulli` zeroes each entry with that chance, `exact` exactly that share of each tensor; `upstream` is "
        "the published rule with its defects, for `compat: upstream` alone.",
    )
    rescale: bool = key(True, "Multiply what is kept, so that the estimate keeps its mean.")


class ZerothOrder(Section):
    """How loss values alone are turned into a gradient: (L(w + eps z) - L(w - eps z)) / (2 eps) z."""

    eps: float = key(
        1e-4,
        "Length of the perturbation; published code uses 1e-3, 1e-4 is more exact in fp32.",
        gt=0,
        le=1,
    )
    sides: Literal["two", "one"] = key(
        "two", "`one` compares with the unperturbed loss: one forward less, and biased."
    )
    draws: int = key(1, "Directions that are averaged in a step.", ge=1, le=10_000)
    micro_batch: int | None = key(
        8,
        "Records in one forward of the full batch; null for all at once. Exact with `bn: running`.",
        unit="records",
        ge=1,
        le=10_000_000,
    )
    bn: Statistics = key(
        "running", "Batch normalisation in these forwards; `running` uses the stored statistics."
    )
    restore: Literal["snapshot", "arithmetic"] = key(
        "snapshot", "How weights come back: from a copy, to the bit, or by adding and subtracting."
    )
    sparsity: Sparsity | None = key(None, "Zeroes part of each direction.")


class ConstantCoef(Section):
    """The same weight throughout."""

    kind: Literal["constant"] = key(description="The word that selects this schedule.")
    value: float = key(description="The weight; 1 is the tiny batch's gradient alone.", ge=0, le=1)


class TwoPhaseCoef(Section):
    """One weight, then another: what published code executes is 0.99, then 0.90 from 20 % of the run on."""

    kind: Literal["two_phase"] = key(description="The word that selects this schedule.")
    first: float = key(0.99, "The weight at first.", ge=0, le=1)
    then: float = key(0.90, "The weight from `switch` on.", ge=0, le=1)
    switch: float = key(0.2, "Share of the planned steps after which it changes.", ge=0, le=1)


class LinearCoef(Section):
    """A line between two weights."""

    kind: Literal["linear"] = key(description="The word that selects this schedule.")
    start: float = key(description="The weight until `begin`.", ge=0, le=1)
    end: float = key(description="The weight from `until` on.", ge=0, le=1)
    begin: float = key(0.0, "Share of the planned steps at which it starts to change.", ge=0, le=1)
    until: float = key(1.0, "Share of the planned steps at which it has changed.", ge=0, le=1)


Coef = Annotated[ConstantCoef | TwoPhaseCoef | LinearCoef, Field(discriminator="kind")]

# --------------------------------------------------------------------------------------------- methods


class EcgFull(Section):
    """Every weight is trained by backpropagation."""

    name: Literal["full"] = key(description="The word that selects this method.")
    bn: Statistics = key("batch", "Batch normalisation while training.")
    micro_batch: int | None = key(
        None,
        "Records in one forward and backward pass, gradients added up; null for all.",
        ge=1,
        le=10_000_000,
    )


class LinearProbe(Section):
    """Only the head is trained, on features of the frozen backbone."""

    name: Literal["linear_probe"] = key(description="The word that selects this method.")


class EcgLora(Adapters):
    """Adapters, trained by backpropagation over the whole batch."""

    name: Literal["lora"] = key(description="The word that selects this method.")
    bn: Statistics = key("batch", "Batch normalisation while training.")
    micro_batch: int | None = key(
        None,
        "Records in one forward and backward pass, gradients added up; null for all.",
        ge=1,
        le=10_000_000,
    )


class MeZo(Section):
    """Gradients from loss values alone (MeZO, arXiv 2305.17333)."""

    name: Literal["zeroth_order"] = key(description="The word that selects this method.")
    lora: Adapters | None = key(None, "Train adapters; without them every weight.")
    zo: ZerothOrder = key(ZerothOrder, "How the loss is probed.")
    head: Literal["zeroth_order", "full_batch"] = key(
        "zeroth_order", "`full_batch` gives the head its exact gradient, without one through the backbone."
    )
    sign: bool = key(False, "Use only the sign of the slope.")
    update: Literal["in_place", "optimiser"] = key(
        "in_place", "`in_place` is MeZO's own step; `optimiser` hands the estimate to `train.optimizer`."
    )


class Fusion(Section):
    """A tiny batch's exact gradient mixed, tensor by tensor, with a full batch's zeroth-order direction.

    This is adaptive gradient fusion as FUSION sections 3 and 8 describe it, without its published defects.
    """

    name: Literal["fusion"] = key(description="The word that selects this method.")
    lora: Adapters | None = key(None, "Train adapters; without them every weight.")
    bp_batch: int = key(
        description="The first records of each batch, which are backpropagated.",
        unit="records",
        ge=1,
        le=10_000_000,
    )
    coef: Coef = key(
        description="Weight of the tiny batch's gradient over the run; where it is 1 the full batch is not probed."
    )
    head: Literal["full_batch", "tiny_batch"] = key(
        "full_batch",
        "Where the head's exact gradient comes from: the full batch (H-Tuning), or the tiny one.",
    )
    norm_eps: float = key(1e-6, "Added to the norm of each zeroth-order direction.", gt=0, le=1)
    zo: ZerothOrder = key(ZerothOrder, "How the full batch's loss is probed.")
    compat: Literal["upstream"] | None = key(
        None,
        "`upstream` reproduces the published code with its defects, for ablation. `coef`, `head` and `zo` must then "
        "say what that code executes.",
    )


class Addax(Section):
    """A weighted sum of a zeroth-order and a first-order gradient of two parts of the batch (arXiv 2410.06441)."""

    name: Literal["addax"] = key(description="The word that selects this method.")
    lora: Adapters | None = key(None, "Train adapters; without them every weight.")
    bp_batch: int = key(
        description="Records that are backpropagated; the others are probed.",
        unit="records",
        ge=1,
        le=10_000_000,
    )
    alpha: float = key(description="Weight of the zeroth-order part.", ge=0, le=1)
    zo: ZerothOrder = key(ZerothOrder, "How the loss is probed.")


class Hybrid(Section):
    """First order for deep layers, zeroth order for shallow ones (LoHO, AAAI 2025)."""

    name: Literal["hybrid"] = key(description="The word that selects this method.")
    lora: Adapters | None = key(None, "Train adapters; without them every weight.")
    split: Literal["inter", "intra"] = key(
        "inter",
        "`inter`: the last blocks and the head are backpropagated. `intra`: a share of each tensor is.",
    )
    deep_blocks: int = key(
        0, "With `inter`: how many of the last transformer blocks; 0: the head.", ge=0, le=10_000
    )
    share: float = key(0.5, "With `intra`: share of each tensor that follows the exact gradient.", ge=0, le=1)
    bp_batch: int | None = key(
        None,
        "The first records, which are backpropagated; null for all.",
        unit="records",
        ge=1,
        le=10_000_000,
    )
    zo: ZerothOrder = key(ZerothOrder, "How the loss is probed.")


EcgMethod = Annotated[
    EcgFull | LinearProbe | EcgLora | MeZo | Fusion | Addax | Hybrid, Field(discriminator="name")
]
