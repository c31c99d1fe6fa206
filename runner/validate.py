"""Loading a spec with every check there is: typed fields, rules, and what the engines would say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from converters.foreign import FOREIGN, WHY
from runner.spec.load import Fault, Loaded, load
from runner.spec.messages import Vocabulary
from runner.spec.model import Spec
from runner.spec.problems import Problem, SpecError

VOCABULARY = Vocabulary(FOREIGN, WHY)


def load_spec(file: Path, sets: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    """Return the spec of `file`, checked in every way that needs no machine.

    Raises:
        SpecError: everything that is wrong.
    """
    return load(file, sets=sets, environ=environ, vocabulary=VOCABULARY, checks=(_engine_keys,))


def problems_in(files: Iterable[Path], sets: Sequence[str], environ: Mapping[str, str]) -> list[Problem]:
    """Return the problems of all files, in their order."""
    found: list[Problem] = []
    for file in files:
        try:
            load_spec(file, sets, environ)
        except SpecError as error:
            found.extend(error.problems)
    return found


def _engine_keys(spec: Spec) -> Iterable[Fault]:
    if not spec.axolotl and not spec.deepspeed:
        return ()
    from converters.engine_schema import check_raw  # with jsonschema: only where there is something to check

    return [Fault(item.path, item.code, item.message, item.hint) for item in check_raw(spec)]
