"""What the sources of images are read from, below `data.root`, and is not there. Looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from runner.spec.environment import substitute, without_values
from runner.spec.load import Loaded
from runner.spec.nearest import nearest
from runner.spec.problems import Problem
from runner.spec.vlm_sources import ImageMixtureData, ImageSource, VlmDataCommon
from runner.spec.yaml_text import Path as SpecPath
from runner.spec.yaml_text import dotted


def missing_below_root(
    loaded: Loaded, data: VlmDataCommon, environ: Mapping[str, str], *, rehearse: bool
) -> list[Problem]:
    """Return a problem for each place of a used source that is not there.

    In a rehearsal a part of a mixture may lack what it is read from, if one of its stand-ins has all that it
    needs. Where `data.root` itself is not there, that is reported with the other places of the spec.
    """
    text, unset = substitute(data.root, environ)
    root = Path(text).expanduser() if text else None
    if unset or (root is not None and not root.exists()):
        return []
    problems = []
    named = Path(without_values(data.root, environ)) if text else None
    for path, message, hint in _lacking(data, root, named, rehearse=rehearse):
        mark = loaded.tree.mark_of_section(path)
        problems.append(
            Problem(mark.file, mark.line, mark.column, dotted(path), "missing-file", message, hint)
        )
    return problems


def _lacking(
    data: VlmDataCommon, root: Path | None, named: Path | None, *, rehearse: bool
) -> Iterator[tuple[SpecPath, str, str]]:
    """Yield where, what and a hint; `named` is `root` as messages name it, without the value of a variable."""
    rootless: list[str] = []
    for path, source, stand_ins in _used(data):
        lacking = list(_not_there(source, root))
        if lacking and rehearse and any(not list(_not_there(one, root)) for one in stand_ins):
            continue
        also = "; none of its stand-ins is there either" if lacking and rehearse and stand_ins else ""
        for option, place in lacking:
            if place is None:
                rootless.append(dotted((*path, option)))
                continue
            beside = [item.name for item in place.parent.iterdir()] if place.parent.is_dir() else []
            near = nearest(place.name, beside)
            place = (
                (named or Path()) / place.relative_to(root) if root and place.is_relative_to(root) else place
            )
            hint = f"nearest: {place.parent / near}" if near else "set data.root to the folder that holds it"
            yield (*path, option.partition("[")[0]), f"nothing at {place}{also}", hint
    if rootless:
        many = f"{', '.join(rootless[:3])}{f' and {len(rootless) - 3} more' if len(rootless) > 3 else ''}"
        yield (
            ("data", "root"),
            f"no folder is given, and {many} {'is' if len(rootless) == 1 else 'are'} relative to it",
            "set data.root, for example --set data.root=FOLDER",
        )


def _used(data: VlmDataCommon) -> Iterator[tuple[SpecPath, ImageSource, tuple[ImageSource, ...]]]:
    """Yield each source that is read, its place in the spec, and what a rehearsal may read instead."""
    if isinstance(data, ImageMixtureData):
        for name, part in data.components.items():
            if part.use:
                yield ("data", "components", name), part, part.stand_ins
    elif isinstance(data, ImageSource):
        yield ("data",), data, ()


def _not_there(source: ImageSource, root: Path | None) -> Iterator[tuple[str, Path | None]]:
    """Yield option and place of what is lacking; None for a place that needs a root where none is given."""
    for option, place in source.below_root():
        if place is None:
            continue  # a rule of the spec says so
        if root is None and not Path(place).is_absolute():
            yield option, None
        elif not ((root or Path()) / place).exists():
            yield option, (root or Path()) / place
