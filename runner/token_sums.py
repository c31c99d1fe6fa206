"""Loss, accuracy and entropy as sums over label tokens.

Sums of any number of batches, processes and resumed runs add up to the same means. A label token is a position whose label is not -100 and that has a token before it to be predicted
from; the mean of a sum over label tokens does not depend on how rows were put into batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The label of a token that carries no loss, in every Hugging Face model."""

CHUNK_ELEMENTS = 1 << 24
"""Logits looked at in one go: 64 MiB in float32, whatever the vocabulary and the batch."""

CPU_CHUNK_ELEMENTS = 1 << 16
CPU_CHUNK_ROWS = 8
"""The same on a CPU, but at least so many tokens: what stays in a core's cache takes half the time."""


LARGE = 64.0
"""Logits beyond this lose digits when they are not taken from their highest first."""


@dataclass
class Sums:
    """Sums over label tokens, and counts, of one process or of all."""

    loss: float = 0.0
    """Negative log-likelihoods, in nats."""
    entropy: float = 0.0
    """Entropies of the predicted distributions, in nats."""
    correct: float = 0.0
    """Label tokens whose first prediction is right."""
    label_tokens: float = 0.0
    tokens: float = 0.0
    """Attended tokens."""
    rows: float = 0.0
    without_logits: float = 0.0
    """Label tokens of batches whose model gave no logits: entropy and accuracy are not known."""

    def add(self, other: Sums) -> None:
        """Add another batch, process or step."""
        for name in SUM_NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def means(self) -> dict[str, float | None]:
        """Return loss, token_accuracy and entropy per label token; None where they cannot be known."""
        if not self.label_tokens:
            return {"loss": None, "token_accuracy": None, "entropy": None}
        judged = not self.without_logits
        return {
            "loss": self.loss / self.label_tokens,
            "token_accuracy": self.correct / self.label_tokens if judged else None,
            "entropy": self.entropy / self.label_tokens if judged else None,
        }

    def as_dict(self) -> dict[str, float]:
        """Return the sums by name; JSON keeps every bit of them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> Sums:
        """Return the sums that `as_dict` gave."""
        return cls(**values)


SUM_NAMES = tuple(field.name for field in fields(Sums))


def perplexity(loss: float | None) -> float | None:
    """Return exp(loss); infinity where that is no longer a float."""
    if loss is None:
        return None
    return math.exp(loss) if loss < 709 else math.inf


def count_batch(inputs: Mapping[str, Any]) -> tuple[int, torch.Tensor]:
    """Return the rows of a batch and its attended tokens, shape () on the batch's device.

    A mask may hold the number of the packed sequence instead of 1; without a mask every token counts.
    """
    import torch

    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    tokens = torch.tensor(ids.numel(), device=ids.device) if mask is None else (mask != 0).sum()
    return int(ids.shape[0]), tokens


def label_mask(labels: torch.Tensor) -> torch.Tensor:
    """Return which positions are predicted, shape (record, token - 1): label t + 1 from token t."""
    return labels[:, 1:] != IGNORED


def token_sums(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the sums of loss, entropy and correct predictions over the label tokens of one batch.

    Only the logits of label tokens are looked at, a chunk at a time in float32, so no second copy of
    the logits is held. Neither argument is changed and no random number is drawn.

    Args:
        logits: shape (record, token, vocabulary), any floating type.
        labels: shape (record, token); -100 carries no loss.

    Returns:
        Shape (4,): loss in nats, entropy in nats, correct predictions, label tokens. float64, except
        on devices without it, where float32.
    """
    import torch

    with torch.no_grad():
        wide = torch.float32 if logits.device.type == "mps" else torch.float64
        mask = label_mask(labels)
        record, token = mask.nonzero(as_tuple=True)
        targets = labels[record, token + 1]
        places = record * logits.shape[1] + token
        flat = logits.detach().reshape(-1, logits.shape[-1])
        total = torch.zeros(4, dtype=wide, device=logits.device)
        cpu = logits.device.type == "cpu"
        elements, least = (CPU_CHUNK_ELEMENTS, CPU_CHUNK_ROWS) if cpu else (CHUNK_ELEMENTS, 1)
        size = max(least, elements // flat.shape[-1])
        # Memory that is taken anew for every chunk costs a CPU more than the sums do.
        kept = torch.empty(2, min(size, len(places)), flat.shape[-1], dtype=torch.float32, device=flat.device)
        for place, target in zip(torch.split(places, size), torch.split(targets, size), strict=True):
            chosen, shares = kept[0, : len(place)], kept[1, : len(place)]
            if flat.dtype == torch.float32:
                torch.index_select(flat, 0, place, out=chosen)
            else:
                chosen.copy_(flat.index_select(0, place))
            torch.softmax(chosen, dim=-1, out=shares)
            total[:3] += _chunk_sums(chosen, shares, target, wide)
        total[3] = mask.sum()
        return total


def _chunk_sums(
    logits: torch.Tensor, shares: torch.Tensor, targets: torch.Tensor, wide: torch.dtype
) -> torch.Tensor:
    """Return loss, entropy and correct predictions of `logits` and their softmax, shape (token, vocabulary).

    With p = softmax(x) and n = x[y] - log p[y], the logarithm of the sum of exponentials: the loss is
    -log p[y] and the entropy n - sum(p x). Rows in which that is no number
    (p[y] below the smallest float, a logit of -inf) or in which x is so large that digits are lost are made
    again with the highest logit taken off.
    """
    import torch

    index = targets.unsqueeze(-1)
    wanted, share = (part.gather(-1, index).squeeze(-1) for part in (logits, shares))
    norm = wanted - share.log()
    entropy = norm - torch.linalg.vecdot(shares, logits)
    loss = norm - wanted
    careful = ~torch.isfinite(entropy) | ~torch.isfinite(loss) | (norm.abs() > LARGE)
    if bool(careful.any()):
        loss[careful], entropy[careful] = _careful(logits[careful], targets[careful])
    correct = _predicted(logits, shares, targets, share)
    return torch.stack((loss.to(wide).sum(), entropy.to(wide).sum(), correct.to(wide).sum()))


def _careful(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return loss and entropy of each row; with t = x - max, s = sum(exp(t)): log s - t[y], log s - sum(p t)."""
    import torch

    # A logit of -inf has probability 0 and adds nothing; 0 * -inf would make the entropy NaN.
    shifted = (logits - logits.amax(dim=-1, keepdim=True)).clamp_(min=-1e30)
    log_norm = shifted.logsumexp(dim=-1)
    wanted = shifted.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return log_norm - wanted, log_norm - torch.linalg.vecdot(shifted.softmax(dim=-1), shifted)


def _predicted(
    logits: torch.Tensor, shares: torch.Tensor, targets: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """Return which targets are the first of the highest logits, shape (token,).

    On a CPU the place of a maximum takes ten times as long as its value, so it is looked for only where
    another token may share it: where the target's probability is the highest, but not above a half.
    """
    if logits.device.type != "cpu":
        return logits.argmax(dim=-1) == targets
    correct = share >= shares.amax(dim=-1)
    unsure = (correct & (share <= 0.5)).nonzero().squeeze(-1)
    if len(unsure):
        correct[unsure] = logits[unsure].argmax(dim=-1) == targets[unsure]
    return correct
