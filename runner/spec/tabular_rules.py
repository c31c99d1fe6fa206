"""The rules about tables: what a prompt may name, what is answered, which limits make sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from runner.spec.model import AxolotlSpec
from runner.spec.nearest import nearest
from runner.spec.prompt import PromptError, fields_of
from runner.spec.sources import CardioSource, MixtureData, SourceSection, TabularSource
from runner.spec.yaml_text import Path

Broken = Iterator[tuple[Path, str]]

OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "gender": "sex",
        "age": "age_years",
        "age_years": "age",
        "systolic": "ap_hi",
        "sbp": "ap_hi",
        "ap_high": "ap_hi",
        "diastolic": "ap_lo",
        "dbp": "ap_lo",
        "ap_low": "ap_lo",
        "glucose": "gluc",
        "smoker": "smoke",
        "smoking": "smoke",
        "alcohol": "alco",
        "max_hr": "thalach",
        "chest_pain": "cp",
    }
)
"""What others call a column -> ours, where the table has it."""

LIMITED = ("ap_hi", "ap_lo", "height", "weight")


def sources_of(spec: AxolotlSpec) -> Iterator[tuple[Path, SourceSection]]:
    """Yield the spec's source, or those of its mixture, with their paths."""
    if isinstance(spec.data, MixtureData):
        for number, component in enumerate(spec.data.components):
            yield ("data", "components", number), component
    elif isinstance(spec.data, SourceSection):
        yield ("data",), spec.data


def _tables(spec: AxolotlSpec) -> Iterator[tuple[Path, TabularSource]]:
    for path, source in sources_of(spec):
        if isinstance(source, TabularSource):
            yield path, source


def prompt_fields(spec: AxolotlSpec) -> Broken:
    """Yield the fields of a prompt that are no column of its table, and prompts that cannot be read."""
    for path, table in _tables(spec):
        place = (*path, "prompt")
        try:
            names = fields_of(table.prompt)
        except PromptError as error:
            yield place, str(error)
            continue
        if not names:
            yield place, "no {name} in it: the same would be asked about every row"
        for name in names:
            if name not in table.FIELDS:
                yield place, f"unknown field {{{name}}}; {_instead(name, table)}"


def _instead(name: str, table: TabularSource) -> str:
    fields = f"fields: {', '.join(table.FIELDS)}"
    other = OTHER_NAMES.get(name.lower())
    near = other if other in table.FIELDS else nearest(name, table.FIELDS)
    return f"nearest: {near}; {fields}" if near else fields


def answers_differ(spec: AxolotlSpec) -> Broken:
    """Yield two answers that nobody could tell apart."""
    for path, table in _tables(spec):
        absent, present = table.answers.absent, table.answers.present
        if absent.split() == [] or present.split() == []:
            yield (*path, "answers"), "an answer of white space alone"
        elif absent.casefold().split() == present.casefold().split():
            yield (*path, "answers"), f"absent {absent!r} and present {present!r} read the same"


def limits_in_order(spec: AxolotlSpec) -> Broken:
    """Yield limits that are not two numbers, the lower first."""
    for path, table in _tables(spec):
        if not isinstance(table, CardioSource):
            continue
        for name in LIMITED:
            limits = getattr(table.plausible, name)
            if limits is not None and (len(limits) != 2 or limits[0] > limits[1]):
                yield (*path, "plausible", name), f"got [{', '.join(f'{value:g}' for value in limits)}]"


def features_of_tables(spec: AxolotlSpec) -> Broken:
    """Yield a split by features of records that have none."""
    if spec.data.split.by == "features" and not list(_tables(spec)):
        yield ("data", "split", "by"), "'features' of records that are no rows of a table"
