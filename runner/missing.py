"""What is not there before a run: packages, and local files that the spec names. Looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runner.spec.ecg import EcgModel, EcgSpec
from runner.spec.ecg_sources import FolderOfRecords
from runner.spec.environment import expand
from runner.spec.kinds import Spec
from runner.spec.load import Loaded
from runner.spec.model import TINY_RANDOM, AxolotlSpec
from runner.spec.nearest import nearest
from runner.spec.problems import Problem
from runner.spec.sources import MedquadSource, MessagesSource, MixtureData
from runner.spec.tasks import LmEvalTask
from runner.spec.yaml_text import Path as SpecPath
from runner.spec.yaml_text import dotted

NEEDED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "llm": {"axolotl": "train", "matplotlib": "train", "torch": "train", "transformers": "train"},
        "vlm": {
            "axolotl": "train",
            "matplotlib": "train",
            "PIL": "train",
            "torch": "train",
            "transformers": "train",
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


LOCAL = ("root", "path", "data", "include", "checkpoint", "teacher")
"""Keys that always name a local place."""


def missing_packages(spec: Spec) -> list[str]:
    """Return what is to be installed before this spec can run here, each with the command."""
    extras = sorted({extra for package, extra in NEEDED[spec.kind].items() if find_spec(package) is None})
    missing = [f"packages of the extra {extra!r}: pip install 'runner[{extra}]'" for extra in extras]
    asked: Mapping[str, tuple[str, bool]] = {}
    if spec.kind != "ecg":
        asked = _asked_of_engine(spec)
        if any(isinstance(task, LmEvalTask) for task in spec.evaluate) and find_spec("lm_eval") is None:
            missing.append("lm-eval, which `evaluate` asks for: pip install 'runner[eval]'")
    return missing + [
        f"the package for {what}: pip install {package.replace('_', '-')}"
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

    A rehearsal reads neither the weights nor an adapter, so these may be missing.
    """
    spec = loaded.spec
    named: Iterable[tuple[SpecPath, str]]
    if spec.kind == "ecg":
        named = _named_by_ecg(spec, environ, rehearse=rehearse)
    else:
        named = _named_files(spec, rehearse=rehearse)
    problems = []
    for path, given in named:
        if wrong := _wrong_with(path, given, expand(given, environ), of_text=spec.kind != "ecg"):
            mark = loaded.tree.mark(path)
            problems.append(Problem(mark.file, mark.line, mark.column, dotted(path), "missing-file", *wrong))
    return problems


def _wrong_with(path: SpecPath, given: str, text: str, *, of_text: bool) -> tuple[str, str] | None:
    """Return message and hint for a place that is not there, else None; `of_text`: of a language model's spec."""
    if not text:
        none = "no folder is given; only a rehearsal goes without one, on invented recordings"
        return (none, _hint(given, path, Path(text), ())) if path[-1] == "root" and not of_text else None
    real = Path(text)
    if path[-1] not in LOCAL and not text.startswith(("/", "./", "../")):
        return None  # a hub id
    if not real.exists():
        beside = [item.name for item in real.parent.iterdir()] if real.parent.is_dir() else []
        return f"nothing at {real}", _hint(given, path, real, beside)
    if of_text and path[-1] == "root" and next(real.glob("*/*.xml"), None) is None:
        return f"no folder in {real} holds an XML file", "it is the folder of 1_CancerGov_QA and the like"
    return None


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


def _hint(given: str, path: SpecPath, real: Path, beside: Sequence[str]) -> str:
    near = nearest(real.name, beside)
    if near:
        return f"nearest: {real.parent / near}"
    variable = given[len("${env:") :].split(":-")[0].rstrip("}") if given.startswith("${env:") else ""
    also = f" or {variable}" if variable else ""
    if any(isinstance(part, int) for part in path):  # --set does not reach into a list
        return f"change {dotted(path)}, or set {variable}" if variable else f"change {dotted(path)}"
    return f"set {dotted(path)}{also}, for example --set {dotted(path)}=FOLDER"


def _named_files(spec: AxolotlSpec, *, rehearse: bool) -> list[tuple[SpecPath, str]]:
    sources: list[tuple[SpecPath, Any]] = [(("data",), spec.data)]
    if isinstance(spec.data, MixtureData):
        sources = [(("data", "components", n), part) for n, part in enumerate(spec.data.components)]
    found: list[tuple[SpecPath, str | None]] = []
    for path, source in sources:
        if isinstance(source, MedquadSource):
            found.append(((*path, "root"), source.root))
        elif isinstance(source, MessagesSource):
            found.append(((*path, "path"), source.path))
        else:
            found.append(((*path, "id"), getattr(source, "id", None)))
    found.append((("model", "tokenizer"), spec.model.tokenizer))
    for number, task in enumerate(spec.evaluate):
        if isinstance(task, LmEvalTask):
            found += [(("evaluate", number, name), getattr(task, name)) for name in ("data", "include")]
    if not rehearse:
        found += [(("model", "base"), spec.model.base), (("model", "adapter"), spec.model.adapter)]
    return [(path, text) for path, text in found if text is not None]


def _named_by_ecg(
    spec: EcgSpec, environ: Mapping[str, str], *, rehearse: bool
) -> Iterator[tuple[SpecPath, str]]:
    """Yield the places that an ECG spec names. Weights are not read by a rehearsal, nor a folder that is not given."""
    if isinstance(spec.data, FolderOfRecords) and (expand(spec.data.root, environ) or not rehearse):
        yield ("data", "root"), spec.data.root
    if rehearse:
        return
    models: list[tuple[SpecPath, EcgModel]] = [(("model",), spec.model)]
    if spec.distill is not None and spec.distill.teacher is not None:
        yield ("distill", "teacher"), spec.distill.teacher
    if spec.distill is not None and spec.distill.train_teacher is not None:
        models.append((("distill", "train_teacher", "model"), spec.distill.train_teacher.model))
    for path, model in models:
        if model.checkpoint is not None and expand(model.checkpoint, environ):
            yield (*path, "checkpoint"), model.checkpoint
