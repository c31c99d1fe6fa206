"""The output layer in float32, for likelihoods that are compared with one another.

In bf16 a logit between 16 and 32 is a multiple of 0.125: two labels would have one of a few dozen
differences, patients would tie by the hundred, and a probability would move in steps of 3 %. The
layers before keep their precision; only the last product, of a few positions, is made in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def exact_output(model: Any) -> Iterator[None]:
    """Let the output layer of a bf16 or fp16 model compute in float32.

    A layer that is in float32 already is left alone, and so is one that is no plain linear layer
    (one with an adapter on it, or with weights in 4 bits).
    """
    import torch

    layer = model.get_output_embeddings()
    if type(layer) is not torch.nn.Linear or layer.weight.dtype not in (torch.bfloat16, torch.float16):
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
