"""What each stage left in its run directory, by hash: written down when it ends, looked at before anything rests on it.

`config/<stage>.outputs.json` is of a stage, `config/run.outputs.json` of what the executor itself wrote. A file that a later
stage changed (the manifest gets what the tokenizer counted) is as it should be in either form.

The hashes find damage and edits by hand. Whoever changes a file and its hash is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from runner.files import read_json, sha256_of, tree_of, write_json
from runner.run_dir import RunDir
from runner.spec.problems import MachineError, StageError
from runner.stage import Stage

FORMAT = 1
RUN = "run"
"""In place of a stage's name: what the executor writes."""
ONCE = ("spec.yaml", "resolved.yaml", "environment.json")
"""Files that are written when a run is begun, and never again."""
GROWING = ("events.jsonl", "logs")
"""Files, and a folder of files, that every later attempt appends to."""
OUTPUTS = ".outputs.json"
CHECKPOINTS = "checkpoints"
"""Folder of a training that nothing but this training itself goes on from; it may be deleted once the stage has ended."""
_SHA256 = re.compile(r"[0-9a-f]{64}")

Files = Mapping[str, str]
"""Path in the run directory -> SHA-256."""


@dataclass
class Hashes:
    """Hashes of the files of a run directory, each made once as long as size, time and place of the file stay.

    That is enough within one process: bytes that change on the disk alone are met by the next one, which hashes anew.
    """

    run: Path
    read: int = 0
    """Bytes that were hashed."""
    _known: dict[str, tuple[tuple[int, int, int], str]] = field(default_factory=dict)

    def of(self, name: str) -> str | None:
        """Return the SHA-256 of a file; None where there is none.

        Raises:
            MachineError: it cannot be read.
        """
        path = self.run / name
        if not path.is_file():
            return None
        try:
            found = path.stat()
            state = (found.st_size, found.st_mtime_ns, found.st_ino)
            if name not in self._known or self._known[name][0] != state:
                self._known[name] = (state, sha256_of(path))
                self.read += found.st_size
        except OSError as error:
            raise MachineError(f"cannot read {path}: {error.strerror or error}") from error
        return self._known[name][1]


def outputs_file(run: Path, stage: str) -> Path:
    """Return where it is written down what a stage left."""
    return run / "config" / f"{stage}{OUTPUTS}"


def recorded(run: Path, stage: str) -> Files | None:
    """Return what a stage left at its end; None where nothing was written down.

    Raises:
        MachineError: the record is damaged, or names a file outside of the run; names it.
    """
    path = outputs_file(run, stage)
    if not path.exists():
        return None
    value = read_json(path)
    files = value.get("files") if isinstance(value, dict) and value.get("format") == FORMAT else None
    if not isinstance(files, dict) or not all(_is_entry(name, sha) for name, sha in files.items()):
        raise MachineError(
            f"{path} is damaged: expected format {FORMAT} and paths in the run with their SHA-256"
        )
    return files


def _is_entry(name: str, sha: Any) -> bool:
    path = PurePosixPath(name)
    inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return inside and isinstance(sha, str) and _SHA256.fullmatch(sha) is not None


def record(hashes: Hashes, stage: str, names: Iterable[str]) -> Files:
    """Write down the files of a stage as they are now, and return them with their hashes."""
    found = {name: sha for name in sorted(set(names)) if (sha := hashes.of(name)) is not None}
    _write(hashes.run, stage, found)
    return found


def record_again(run: Path, stage: str, places: Sequence[str]) -> None:
    """Write down what a stage left once more, after its work was done again by hand: at these places, and wherever it was."""
    try:
        before = recorded(run, stage) or {}
    except MachineError:  # it is written anew
        before = {}
    record(Hashes(run), stage, [*before, *below(run, places)])


def forget(run: Path, names: Iterable[str]) -> None:
    """Take files that are about to change out of what is written down of the run itself."""
    if (files := recorded(run, RUN)) is not None:
        kept = {name: sha for name, sha in files.items() if name not in set(names)}
        _write(run, RUN, kept)


def record_run(hashes: Hashes, planned: Iterable[str]) -> None:
    """Write down the executor's own files as they are when a run ends.

    Args:
        hashes: of the run.
        planned: files of the plan, below `config`.
    """
    before = recorded(hashes.run, RUN) or {}
    now = {name: sha for name in own_files(hashes.run, planned) if (sha := hashes.of(name)) is not None}
    _write(hashes.run, RUN, {**now, **{name: before[name] for name in ONCE if name in before}})


def own_files(run: Path, planned: Iterable[str] = ()) -> list[str]:
    """Return the files of a run directory that the executor writes, but for the state and the lists of outputs."""
    folders = [name for name in below(run, ["config", "logs"]) if not name.endswith(OUTPUTS)]
    return sorted(
        {
            *folders,
            *planned,
            *(name for name in (*ONCE, "plan.json", "events.jsonl") if (run / name).is_file()),
        }
    )


def _write(run: Path, stage: str, files: Files) -> None:
    write_json(
        outputs_file(run, stage), {"format": FORMAT, "stage": stage, "files": dict(sorted(files.items()))}
    )


def below(run: Path, places: Sequence[str]) -> list[str]:
    """Return the files at, or below, some places of a run directory, sorted."""
    found: set[str] = set()
    for place in places:
        path = run / place
        files = [path] if path.is_file() else (item for item in path.rglob("*") if item.is_file())
        found |= {file.relative_to(run).as_posix() for file in files}
    return sorted(found)


def is_below(name: str, places: Sequence[str]) -> bool:
    """Return whether a file is one of some places, or lies in one of them.

    >>> is_below("train/final/model.safetensors", ["train/final"]), is_below("train/final2", ["train/final"])
    (True, False)
    """
    return any(name == place or name.startswith(f"{place}/") for place in places)


@dataclass
class Left:
    """What the stages of a run left."""

    hashes: Hashes
    order: Sequence[str]
    """The stages of the plan, in order."""
    of_stage: dict[str, Files] = field(default_factory=dict)
    """Stage -> its files; only of stages that ended well."""

    def faults(self, stage: Stage, *, checkpoints: bool = False) -> dict[str, str]:
        """Return file -> what is wrong with it, of the files that a stage left.

        Args:
            stage: one that ended well.
            checkpoints: look at those too; only a training that is made again rests on its own.
        """
        found: dict[str, str] = {}
        for name in self.of_stage.get(stage.name, {}):
            if is_checkpoint(name) and not checkpoints:
                continue
            sha = self.hashes.of(name)
            if sha is None and not is_checkpoint(name):
                found[name] = "is gone"
            elif sha is not None and sha not in self._forms(name, self._from(stage.name)):
                found[name] = "is not as the stage left it"
        return found

    def damaged(self, names: Iterable[str]) -> list[str]:
        """Return those of some files that no stage left as they are now."""
        return [name for name in names if self.hashes.of(name) not in self._forms(name, self.order)]

    def as_read(self, stage: Stage, place: str) -> str:
        """Return the hash of what a stage reads, as `tree_sha256` makes it, as the stages before it left it.

        A file that a later stage has changed counts as it was before; one that a later stage put there does not count.
        """
        before = self.order[: self.order.index(stage.name)]
        found: dict[str, str] = {}
        for name in below(self.hashes.run, [place]):
            now = self.hashes.of(name) or ""
            owners = [one for one in self.order if name in self.of_stage.get(one, {})]
            earlier = [one for one in owners if one in before]
            if owners and not earlier:
                continue
            as_it_should = bool(earlier) and now in self._forms(name, owners)
            found[name] = self.of_stage[earlier[-1]][name] if as_it_should else now
        if (self.hashes.run / place).is_file():
            return found.get(place, "")
        return tree_of({name.removeprefix(f"{place}/"): sha for name, sha in found.items()})

    def forms(self, name: str) -> set[str]:
        """Return the forms in which any stage left a file."""
        return self._forms(name, self.order)

    def _from(self, stage: str) -> Sequence[str]:
        return self.order[self.order.index(stage) :]

    def _forms(self, name: str, stages: Sequence[str]) -> set[str]:
        """Return the forms in which some stages left a file."""
        return {files[name] for one in stages if name in (files := self.of_stage.get(one, {}))}


def checkpoints_of(stage: Stage) -> list[str]:
    """Return where a stage keeps its checkpoints, if it has any."""
    return sorted({(PurePosixPath(path).parent / CHECKPOINTS).as_posix() for path in stage.writes})


def is_checkpoint(name: str) -> bool:
    """Return whether a file is one that only its own training goes on from."""
    return CHECKPOINTS in PurePosixPath(name).parts[:-1]


NO_SUCH_FORM = (
    ArithmeticError, AttributeError, IndexError, KeyError, MemoryError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What comes of reading a file that has another form than it was written in."""


@contextmanager
def reading_run(*runs: Path) -> Iterator[None]:
    """Inside the block the files of runs are read: where one is of another form, that is said in place of a traceback.

    Where all files are as their stages left them the fault is ours, and keeps its traceback.

    Raises:
        MachineError: names the files that were changed, or says that nobody knows which.
    """
    try:
        yield
    except NO_SUCH_FORM as error:
        known = {run: changed_files(run) for run in runs}
        changed = [str(run / name) for run, names in known.items() for name in names or ()]
        unknown = [str(run) for run, names in known.items() if names is None]
        if not changed and not unknown:
            raise
        said = f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__
        if changed:
            them = "it was" if len(changed) == 1 else "they were"
            raise MachineError(
                f"{', '.join(changed[:5])}: not as {them} left, and cannot be read ({said})\n"
                "  runner launch --resume RUN makes again what is damaged; runner verify RUN names every file"
            ) from error
        raise MachineError(
            f"a file of {' or '.join(unknown)} has another form than this release of runner writes ({said})\n"
            "  it was damaged, changed, or made by another release; no hashes were written down that would tell which"
        ) from error


def changed_files(run: Path) -> list[str] | None:
    """Return the files of a run that are in no form in which a stage left them; None where no forms are known."""
    forms: dict[str, set[str]] = {}
    found: list[str] = []
    for path in sorted((run / "config").glob(f"*{OUTPUTS}")):
        try:
            files = recorded(run, path.name.removesuffix(OUTPUTS)) or {}
        except MachineError:
            found.append(path.relative_to(run).as_posix())
            continue
        for name, sha in files.items():
            forms.setdefault(name, set()).add(sha)
    hashes = Hashes(run)
    found += [
        name for name, known in forms.items() if not is_checkpoint(name) and hashes.of(name) not in known
    ]
    # The state has no hash, and no list of outputs has one.
    try:
        RunDir(run).read_status()
    except MachineError:
        found.append("status.json")
    return found if forms or found else None


def require_recorded(run: Path, file: Path, sha256: str) -> None:
    """Require that a file of a run that was loaded is what the stage that made it left.

    Raises:
        StageError: it is not; names the stage.
    """
    if not file.resolve().is_relative_to(run.resolve()):
        return
    name = file.resolve().relative_to(run.resolve()).as_posix()
    for path in sorted((run / "config").glob(f"*{OUTPUTS}")):
        stage = path.name.removesuffix(OUTPUTS)
        left = (recorded(run, stage) or {}).get(name, sha256)
        if left != sha256:
            raise StageError(
                f"{name} is not what the {stage} stage left: SHA-256 {sha256[:12]}..., then {left[:12]}...\n"
                "  runner launch --resume RUN makes it again"
            )
