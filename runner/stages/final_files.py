"""What lies beside final weights is made to be passed on: a card of ours, and no path of this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from runner.files import write_text

CARD = "README.md"
RANDOM_MODEL = "model"
"""The base of a run that made its own small random model, which has no name."""
FROM_HUB = re.compile(r".*/models--([^/]+)--([^/]+)/snapshots/[^/]+/?")
"""Where the hub's cache keeps a model; its id is in the path."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
BODY = """\
# Weights of a run of runner

{what}
{counts}

**Not for clinical use.** These weights were not examined as a medical device. They must not inform a decision about a
patient: no diagnosis, no triage, no treatment.

How they were made and judged is told by the card of the run, `report/README.md` two folders up, which holds no record
of the data. Pass that one on in place of this. Weights may have learned single records by heart: they go where the
records may go.
"""


def write_final_card(final: Path, base: str | None, proof: Mapping[str, Any], *, adapter: bool) -> None:
    """Write the card beside final weights, in place of the trainer's, which prints its whole configuration.

    Args:
        final: the folder.
        base: what they were made from, as `portable` says it; None where it has no name.
        proof: of the training: `steps`, `rows_seen`, `trainable`, `total`; what is not known is left out.
        adapter: whether the folder holds an adapter alone.
    """
    front: dict[str, Any] = {"license": "unknown", "tags": ["medical", "not-for-clinical-use"]}
    if base is not None and HUB_ID.fullmatch(base):
        front |= {"base_model": base, "base_model_relation": "adapter" if adapter else "finetune"}
    what = ("An adapter" if adapter else "A whole model") + (
        "." if base is None else f", made from {_code(base)}."
    )
    told = [
        f"{proof[name]:,} {words}"
        for name, words in (
            ("steps", "optimiser steps"),
            ("rows_seen", "rows"),
            ("trainable", "weights trained"),
        )
        if isinstance(proof.get(name), int)
    ]
    counts = f"Proven of the training: {', '.join(told)}." if told else ""
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    write_text(final / CARD, f"---\n{text}---\n\n{BODY.format(what=what, counts=counts)}")


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', '').split())}`"


def without_machine(folder: Path) -> None:
    """Take the paths of this machine out of the configuration files beside weights; nothing is loaded by them.

    Raises:
        MachineError: a file cannot be written.
    """
    for file in sorted(folder.glob("*config.json")):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            continue  # the check of the weights says what is wrong with it
        if (clean := _portable(found)) != found:
            write_text(file, json.dumps(clean, indent=2, ensure_ascii=False) + "\n")


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    return portable(value) if isinstance(value, str) else value


def portable(text: str) -> str:
    """Return the hub's id of a path in its cache, and of another absolute path its last name; other texts as they are.

    >>> portable("/home/me/.cache/hub/models--org--name/snapshots/ab12"), portable("/data/llama/"), portable("org/name")
    ('org/name', 'llama', 'org/name')
    """
    if found := FROM_HUB.fullmatch(text):
        return f"{found[1]}/{found[2]}"
    is_path = "\n" not in text and (
        text.startswith(("~/", "file:///")) or (text[:1] == "/" and len(Path(text).parts) > 2)
    )
    return Path(text).name if is_path else text
