"""Rules about the methods of an ECG spec and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.spec.ecg_facts import NETWORKS, trainings
from runner.spec.rule import Broken
from runner.spec.section import given
from runner.spec.yaml_text import Path

if TYPE_CHECKING:
    from runner.spec.ecg import EcgSpec
    from runner.spec.ecg_methods import Adapters, Fusion, ZerothOrder

UPSTREAM_COEF = {"kind": "two_phase", "first": 0.99, "then": 0.90, "switch": 0.2}
UPSTREAM_ZO = {"bn": "batch", "restore": "arithmetic", "draws": 1, "micro_batch": None}
"""What the published code executes (FUSION 3.5, 3.7 and 8), whatever it is configured with."""


def adapters_fit(spec: EcgSpec) -> Broken:
    """Yield each target of an adapter that the backbone does not have, or that is named twice."""
    for path, model, method, _ in trainings(spec):
        place = (*path, "method")
        adapters: Adapters | None = method if method.name == "lora" else getattr(method, "lora", None)
        place = place if method.name == "lora" else (*place, "lora")
        known = NETWORKS[model.backbone].targets
        for number, target in enumerate(adapters.targets if adapters else ()):
            if target not in known:
                yield (
                    (*place, "targets", number),
                    f"{target!r} with {model.backbone}, which has {', '.join(known)}",
                )
            elif adapters and target in adapters.targets[:number]:
                yield (*place, "targets", number), f"{target!r} stands twice"


def hybrid_fits(spec: EcgSpec) -> Broken:
    """Yield what `hybrid` cannot cut, and what it would ignore."""
    for path, model, method, _ in trainings(spec):
        if method.name != "hybrid":
            continue
        place, blocks = (*path, "method"), NETWORKS[model.backbone].blocks
        if blocks == 0:
            yield (*place, "name"), f"hybrid with {model.backbone}, which is no transformer"
        elif method.split == "inter" and method.deep_blocks > blocks:
            yield (*place, "deep_blocks"), f"{method.deep_blocks} of the {blocks} blocks of {model.backbone}"
        other = "share" if method.split == "inter" else "deep_blocks"
        if other in given(method):
            yield (*place, other), f"given with `split: {method.split}`"


def batches_fit(spec: EcgSpec) -> Broken:
    """Yield each bp_batch that is no part of the batch."""
    for path, _, method, train in trainings(spec):
        size: int | None = getattr(method, "bp_batch", None)
        most = train.batch - 1 if method.name == "addax" else train.batch
        if size is not None and size > most:
            yield (*path, "method", "bp_batch"), f"bp_batch {size} of a batch of {train.batch}"


def compat_says_what_runs(spec: EcgSpec) -> Broken:
    """Yield each option of `compat: upstream` that says something else than what is executed."""
    for path, _, method, _ in trainings(spec):
        place = (*path, "method")
        upstream = method.name == "fusion" and method.compat == "upstream"
        if method.name == "fusion" and method.compat == "upstream":
            yield from _upstream(place, method)
        zo: ZerothOrder | None = getattr(method, "zo", None)
        sparsity = None if zo is None else zo.sparsity
        if sparsity is not None and (sparsity.kind == "upstream") != upstream:
            with_it = "with" if upstream else "without"
            yield (*place, "zo", "sparsity", "kind"), f"{sparsity.kind!r} {with_it} `compat: upstream`"
        if sparsity is not None and sparsity.kind == "upstream" and sparsity.rescale:
            yield (*place, "zo", "sparsity", "rescale"), "true with the kind upstream, which rescales nothing"


def _upstream(place: Path, method: Fusion) -> Broken:
    if method.coef.model_dump() != UPSTREAM_COEF:
        yield (*place, "coef"), "another coef than the one that is executed"
    if method.head != "tiny_batch":
        yield (*place, "head"), f"{method.head!r}; tiny_batch is executed"
    for name, value in UPSTREAM_ZO.items():
        given = getattr(method.zo, name)
        if given != value:
            shown = "null" if value is None else value
            yield (*place, "zo", name), f"{given!r}; {shown} is executed"


def in_place_is_sgd(spec: EcgSpec) -> Broken:
    """Yield an optimiser or a clipping norm that steps in place would ignore."""
    for path, _, method, train in trainings(spec):
        if method.name != "zeroth_order" or method.update != "in_place":
            continue
        if train.optimizer != "sgd":
            yield (*path, "train", "optimizer"), f"{train.optimizer} with `update: in_place`"
        if train.max_grad_norm is not None:
            yield (*path, "train", "max_grad_norm"), "given with `update: in_place`"


def coef_is_a_line(spec: EcgSpec) -> Broken:
    """Yield a line that ends before it begins."""
    for path, _, method, _ in trainings(spec):
        if method.name != "fusion" or method.coef.kind != "linear":
            continue
        if method.coef.begin >= method.coef.until:
            given = f"begin {method.coef.begin:g} is not below until {method.coef.until:g}"
            yield (*path, "method", "coef", "begin"), given
