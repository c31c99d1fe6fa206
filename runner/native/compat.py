"""The published fusion step with its defects, for ablation only: `compat: upstream`.

What it reproduces (numbers as in FUSION section 8): the auxiliary loss at the plus side alone, so that it swamps
the slope (1); heads from the tiny batch (4); parameters restored by adding and subtracting (5); batch statistics at
both sides, which also update the stored ones at perturbed parameters (7); where sparsity is asked for, one mask for
the whole run that zeroes Phi(s) (8); and the two-phase coefficient whatever was configured (3). The constant
auxiliary target (2) is the objective's: `AuxTarget("any_label")` without its check.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runner.native.coefficients import PUBLISHED
from runner.native.model import Outputs
from runner.native.normalisation import Statistics
from runner.native.zeroth_order import FullBatch, in_double

if TYPE_CHECKING:
    from runner.native.fusion import Options


def as_upstream(options: Options) -> Options:
    """Return `options` as the published code would execute them."""
    sparsity = options.estimator.sparsity
    if sparsity is not None:
        sparsity = replace(sparsity, kind="upstream", rescale=False)
    estimator = replace(
        options.estimator, bn="batch", restore="arithmetic", draws=1, micro_batch=None, sparsity=sparsity
    )
    return replace(options, estimator=estimator, coefficient=PUBLISHED, head="tiny_batch")


class UpstreamFullBatch(FullBatch):
    """The full batch's loss with the auxiliary part in its first evaluation, the plus side, and in no other."""

    def loss(self, outputs: Outputs, call: int) -> float:
        """Return the objective at call 0, and its main part alone afterwards."""
        if call == 0:
            return super().loss(outputs, call)
        return float(self.objective.main(in_double(outputs), self.batch.target.cpu().double()))

    def statistics(self, call: int) -> Statistics:
        """Return `batch` at every call: the stored statistics are updated at both sides."""
        del call
        return "batch"
