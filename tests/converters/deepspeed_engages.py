"""A program for one test: DeepSpeed trains a linear map under each config, one process, on the CPU.

Reads `{name: config}` as JSON from stdin and writes what DeepSpeed did as JSON to the file given. A
process of its own, because DeepSpeed sets up a process group. With two processes over gloo, stages 1
and 2 stop inside torch 2.13.0 (all_gather_into_tensor into views), with any config.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    out = Path(sys.argv[1])
    import deepspeed

    store = f"file://{out.parent / 'store'}"
    deepspeed.init_distributed("gloo", auto_mpi_discovery=False, init_method=store, rank=0, world_size=1)
    configs = json.load(sys.stdin)
    out.write_text(json.dumps({name: engaged(config) for name, config in configs.items()}))


def engaged(config: dict[str, Any]) -> dict[str, Any]:
    import deepspeed
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    engine, wrapped, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    losses = []
    for _ in range(16):
        outputs = engine(torch.ones(4, 8, dtype=torch.bfloat16))
        loss = (outputs.float() - 1).pow(2).mean()
        engine.backward(loss)
        engine.step()
        losses.append(float(loss))
    return {
        "stage": engine.zero_optimization_stage(),
        "steps": engine.global_steps,
        "learns": losses[-1] < losses[0],
        "optimizer": type(wrapped.optimizer).__name__,
        "offloads": bool(engine.zero_cpu_offload()),
        "clips": engine.gradient_clipping(),
    }


if __name__ == "__main__":
    main()
