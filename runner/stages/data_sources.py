"""The settings of the data stage -> the sources that they name, opened, and the key under which their data are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import runner
from converters import records as converters_records
from converters.records import mixture
from runner import data_readers
from runner.data_readers import OPENERS, Asked, Reader, named
from runner.files import canonical_sha256, sha256_of
from runner.spec.problems import DataError
from runner.spec.sources import Data, DataCommon, MixtureData, SourceSection
from runner.stages.common import expand_path

FORMAT = 1
"""Version of the manifest's form."""
PLACES = ("path", "root", "id")  # where a source lies; what lies there is hashed instead


@dataclass(frozen=True)
class Source:
    """One opened source of the spec."""

    name: str
    word: str
    asked: Asked
    take: int | None
    reader: Reader


def placed(section: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the section with its places, and those of its components, found from the user's folder."""
    found = dict(section)
    for key in PLACES:
        if isinstance(found.get(key), str):
            found[key] = expand_path(found[key], environ, hub=key == "id")
    if found.get("components"):
        found["components"] = [placed(component, environ) for component in found["components"]]
    return found


def validated(values: Mapping[str, Any]) -> DataCommon:
    """Return the section as its classes have it; `DataError` where variables made it wrong."""
    try:
        data: DataCommon = TypeAdapter[DataCommon](Data).validate_json(json.dumps(values))
    except ValidationError as error:
        faults = (f"data.{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors())
        raise DataError(
            "the data section is not valid once its variables are put in\n" + named(faults)
        ) from error
    return data


def asked_of(data: DataCommon, written: Mapping[str, Any]) -> Iterator[tuple[str, Asked]]:
    """Yield each source's name and what is asked of it: one, or the components of a mixture."""
    if isinstance(data, MixtureData):
        components: Sequence[Any] = data.components
        for number, name in enumerate(mixture.component_names([item.source for item in components])):
            yield name, Asked(components[number], f"data.components[{number}]", written["components"][number])
    elif isinstance(data, SourceSection):
        yield written["source"], Asked(data, "data", written)


def opened(name: str, asked: Asked, progress: Callable[[int, int | None, str], None]) -> Source:
    """Return a source, found and hashed."""
    word: str = asked.written["source"]
    return Source(name, word, asked, getattr(asked.options, "take", None), OPENERS[word](asked, progress))


def cache_key(data: DataCommon, at_most: Mapping[str, int] | None, sources: Iterable[Source]) -> str:
    """Return the hash of everything that decides what is written: options, contents, and our own code."""
    folders = [Path(module.__file__ or "").parent for module in (converters_records, data_readers)]
    folders_code = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    code = [*folders_code, *sorted(Path(__file__).parent.glob("data*.py"))]
    return canonical_sha256(
        {
            "format": FORMAT,
            "version": runner.__version__,
            "code": {f"{file.parent.name}/{file.name}": sha256_of(file) for file in code},
            "data": _without_places(data.model_dump(mode="json")),
            "at_most": dict(at_most) if at_most else None,
            "inputs": [[asdict(item) for item in source.reader.inputs] for source in sources],
        }
    )


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items() if key not in PLACES}
    return [_without_places(item) for item in value] if isinstance(value, list) else value
