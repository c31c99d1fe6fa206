"""The output layer in float32, for likelihoods that are compared with one another.

In bf16 a logit between 16 and 32 is a multiple of 0.125: two labels would have one of a few dozen
differences, patients would tie by the hundred, and a probability would move in steps of 3 %. The
layers before keep their precision; only the last product, of a few positions, is made in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def precision_of_output(model: Any) -> str:
    """Return the number format in which `exact_output` lets the output layer compute."""
    layer = model.get_output_embeddings()
    own = str(layer.weight.dtype).removeprefix("torch.")
    return "float32" if _can_be_exact(layer) else own


def _can_be_exact(layer: Any) -> bool:
    import torch

    return type(layer) is torch.nn.Linear and layer.weight.dtype in (torch.bfloat16, torch.float16)


@contextmanager
def exact_output(model: Any) -> Iterator[None]:
    """Let the output layer of a bf16 or fp16 model compute in float32.

    A layer that is in float32 already is left alone, and so is one that is no plain linear layer
    (one with an adapter on it, or with weights in 4 bits).
    """
    layer = model.get_output_embeddings()
    if not _can_be_exact(layer):
        yield
        return
    hook = layer.register_forward_hook(_in_float32)
    try:
        yield
    finally:
        hook.remove()


def _in_float32(layer: Any, inputs: tuple[Any, ...], _output: Any) -> Any:
    import torch

    bias = None if layer.bias is None else layer.bias.float()
    return torch.nn.functional.linear(inputs[0].float(), layer.weight.float(), bias)
