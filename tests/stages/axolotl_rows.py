"""Run by a test, as a process: write Axolotl's own tokenised rows of some run directories.

Each argument is a folder with `config/axolotl.yaml`; its rows go to `rows.json` in it. The guard
below is needed: Axolotl starts worker processes that read this file again.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def write_rows(folder: Path) -> None:
    from axolotl.cli.config import load_cfg
    from axolotl.common.datasets import load_datasets

    os.chdir(folder)
    rows = load_datasets(cfg=load_cfg("config/axolotl.yaml")).train_dataset
    kept = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows]
    (folder / "rows.json").write_text(json.dumps(kept), encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        write_rows(Path(argument))
