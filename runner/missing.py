"""What is not there before a run: packages, and local files that the spec names. Looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from converters.records.folders import right_folder
from runner.places import Place, places
from runner.spec.ecg_sources import ArraysData
from runner.spec.environment import expand, without_values
from runner.spec.kinds import Spec
from runner.spec.load import Loaded
from runner.spec.model import TINY_RANDOM, AxolotlSpec
from runner.spec.nearest import nearest
from runner.spec.problems import Problem, how_to_install
from runner.spec.sources import MedquadSource
from runner.spec.tasks import EcgBenchTask, LmEvalTask
from runner.spec.yaml_text import Path as SpecPath
from runner.spec.yaml_text import dotted

NEEDED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "llm": {"axolotl": "train", "matplotlib": "train", "torch": "train", "transformers": "train"},
        "vlm": {
            "axolotl": "train",
            "ijson": "ecg",
            "matplotlib": "train",
            "PIL": "train",
            "scipy": "ecg",
            "threadpoolctl": "ecg",
            "torch": "train",
            "transformers": "train",
            "wfdb": "ecg",
        },
        "ecg": {
            "h5py": "ecg",
            "matplotlib": "ecg",
            "scipy": "ecg",
            "sklearn": "ecg",
            "torch": "ecg",
            "wfdb": "ecg",
        },
    }
)
"""Kind -> package -> the extra that brings it."""

TABLES: Mapping[str, str] = MappingProxyType(
    {"ptbxl": "ptbxl_database.csv", "code15": "exams.csv", "sph": "metadata.csv"}
)
"""Source of recordings -> the table in its folder."""


def missing_packages(spec: Spec) -> list[str]:
    """Return what is to be installed before this spec can run here, each with the command."""
    extras = sorted({extra for package, extra in NEEDED[spec.kind].items() if find_spec(package) is None})
    missing = [f"packages of the extra {extra!r}: {how_to_install(extra)}" for extra in extras]
    asked: Mapping[str, tuple[str, bool]] = {}
    if spec.kind == "ecg":
        asked = {"tensorboard": ("tracking.tensorboard", spec.tracking.tensorboard)}
    else:
        asked = _asked_of_engine(spec)
        if any(isinstance(task, LmEvalTask) for task in spec.evaluate) and find_spec("lm_eval") is None:
            missing.append(f"lm-eval, which `evaluate` asks for: {how_to_install('eval')}")
    return missing + [
        f"the package for {what}: pip install -c constraints.txt {package.replace('_', '-')}"
        for package, (what, wanted) in asked.items()
        if wanted and find_spec(package) is None
    ]


def _asked_of_engine(spec: AxolotlSpec) -> dict[str, tuple[str, bool]]:
    return {
        "mlflow": ("tracking.mlflow", spec.tracking.mlflow is not None),
        "wandb": ("tracking.wandb", spec.tracking.wandb is not None),
        "tensorboard": ("tracking.tensorboard", spec.tracking.tensorboard),
        "bitsandbytes": (
            "4-bit weights and 8-bit optimisers",
            spec.method.name == "qlora" or spec.train.optimizer == "adamw_bnb_8bit",
        ),
        "flash_attn": ("model.attention", spec.model.attention == "flash_attention_2"),
        "deepspeed": ("compute.strategy", spec.compute.strategy.startswith("zero")),
    }


def missing_files(loaded: Loaded, environ: Mapping[str, str], *, rehearse: bool) -> Sequence[Problem]:
    """Return a problem for each local file or folder that the spec names and that is not there.

    The same for every kind of spec: a key that may name a place is declared so, wherever it stands. A rehearsal
    reads no weights and invents questions of ECGBench, so these may be missing.
    """
    problems = []
    for place in places(loaded.spec):
        if rehearse and (place.of_weights or isinstance(_section_of(loaded.spec, place.path), EcgBenchTask)):
            continue
        if wrong := _wrong_with(place, loaded.spec, environ, rehearse=rehearse):
            mark, path = loaded.tree.mark(place.path), dotted(place.path)
            problems.append(Problem(mark.file, mark.line, mark.column, path, "missing-file", *wrong))
    if loaded.spec.kind == "vlm":
        from runner.missing_images import missing_below_root  # brings the classes of images

        problems += missing_below_root(loaded, loaded.spec.data, environ, rehearse=rehearse)
    return problems


def _wrong_with(
    place: Place, spec: Spec, environ: Mapping[str, str], *, rehearse: bool
) -> tuple[str, str] | None:
    """Return message and hint for a place where there is not what is needed, else None."""
    given, path = place.given, place.path
    if not expand(given, environ):
        if rehearse or not place.required or path[-1] != "root":
            return None  # what may be empty is not needed: weights start at random, recordings are invented
        none = "no folder is given; only a rehearsal goes without one, on invented recordings"
        return none, _hint(given, path, Path(), None)
    real = place.where(environ)
    if real is None:
        return None  # a hub id
    named = Path(without_values(given, environ))
    if not real.exists():
        beside = [item.name for item in real.parent.iterdir()] if real.parent.is_dir() else []
        return f"nothing at {named}", _hint(given, path, named, nearest(real.name, beside))
    if path[-1] == "root" and (table := _table_of(_section_of(spec, path))):
        there = real.is_dir() and (real / table).is_file()
        return None if there else (f"no file {table} in {named}", right_folder(real / table, named))
    if isinstance(_section_of(spec, path), MedquadSource) and next(real.glob("*/*.xml"), None) is None:
        return f"no folder in {named} holds an XML file", "it is the folder of 1_CancerGov_QA and the like"
    return None


def _table_of(section: Any) -> str | None:
    """Return the table that a folder of recordings cannot be read without; None for what has none."""
    if isinstance(section, ArraysData):
        return section.table
    return TABLES.get(getattr(section, "source", ""))


def _section_of(spec: Spec, path: SpecPath) -> Any:
    """Return the section that the key at `path` stands in."""
    found: Any = spec
    for part in path[:-1]:
        found = found[part] if isinstance(part, int) else getattr(found, part)
    return found


_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
)


def unusable_tokenizer(loaded: Loaded, environ: Mapping[str, str], *, rehearse: bool) -> Sequence[Problem]:
    """Return a problem where the tokenizer's folder has none of the files that the engine looks for.

    A tiny model takes GPT-2's original file names too: its tokenizer is written anew beside it.
    """
    if loaded.spec.kind == "ecg":
        return ()
    given = loaded.spec.model.tokenizer
    tiny = rehearse or loaded.spec.model.base == TINY_RANDOM
    if given is None or tiny or not expand(given, environ).startswith("/"):
        return ()
    folder = Path(expand(given, environ))
    if not folder.is_dir() or any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return ()
    mark = loaded.tree.mark(("model", "tokenizer"))
    there = sorted(item.name for item in folder.iterdir())[:8]
    message = (
        f"{folder} holds no tokenizer that the engine can load; it holds {', '.join(there) or 'nothing'}"
    )
    hint = "one of these files is needed: " + ", ".join(_TOKENIZER_FILES)
    if "encoder.json" in there:
        hint += "; rename encoder.json to vocab.json and vocab.bpe to merges.txt"
    return (Problem(mark.file, mark.line, mark.column, "model.tokenizer", "missing-file", message, hint),)


def _hint(given: str, path: SpecPath, named: Path, near: str | None) -> str:
    if near and not named.name.startswith("${env:"):
        return f"nearest: {named.parent / near}"
    variable = given[len("${env:") :].split(":-")[0].rstrip("}") if given.startswith("${env:") else ""
    also = f" or {variable}" if variable else ""
    if any(isinstance(part, int) for part in path):  # --set does not reach into a list
        return f"change {dotted(path)}, or set {variable}" if variable else f"change {dotted(path)}"
    return f"set {dotted(path)}{also}, for example --set {dotted(path)}=FOLDER"
