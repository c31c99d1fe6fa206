"""The settings of the data stage -> the sources that they name, opened, and the key under which their data are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError

import runner
from converters import records as converters_records
from converters.records import mixture
from runner import data_readers
from runner.data_readers import OPENERS, Asked, Reader, listed
from runner.data_readers.images import ImageReader, ImageSetup
from runner.files import canonical_sha256, sha256_of
from runner.spec.problems import DataError
from runner.spec.sources import Data, DataCommon, MixtureData, SourceSection
from runner.spec.vlm_sources import ImageComponent, ImageMixtureData, ImageSource, VlmData, VlmDataCommon
from runner.stages.common import expand_path

AnyData: TypeAlias = DataCommon | VlmDataCommon

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
    if isinstance(found.get("components"), list):
        found["components"] = [placed(component, environ) for component in found["components"]]
    return found


def validated(values: Mapping[str, Any]) -> AnyData:
    """Return the section as its classes have it; `DataError` where variables made it wrong."""
    about_images = "render" in values  # only a section about images says how pages are drawn
    try:
        data: AnyData = TypeAdapter[AnyData](VlmData if about_images else Data).validate_json(
            json.dumps(values)
        )
    except ValidationError as error:
        faults = (f"data.{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors())
        raise DataError(
            "the data section is not valid once its variables are put in\n" + listed(faults)
        ) from error
    return data


def asked_of(
    data: AnyData, written: Mapping[str, Any], images: ImageSetup | None, *, rehearsal: bool
) -> Iterator[tuple[str, Asked]]:
    """Yield each source's name and what is asked of it: one, or the components of a mixture.

    Raises:
        DataError: no component is used.
    """
    if isinstance(data, MixtureData):
        components: Sequence[Any] = data.components
        for number, name in enumerate(mixture.component_names([item.source for item in components])):
            yield name, Asked(components[number], f"data.components[{number}]", written["components"][number])
    elif isinstance(data, ImageMixtureData):
        assert images is not None
        used = {name: part for name, part in data.components.items() if part.use}
        if not used:
            raise DataError(
                f"data.components: none is used; `use: true` for one of {', '.join(data.components)}"
            )
        for name, part in used.items():
            asked = Asked(part, f"data.components.{name}", written["components"][name], images)
            yield name, _stand_in(asked, part) if rehearsal and not at_hand(part, images) else asked
    elif isinstance(data, SourceSection):
        yield written["source"], Asked(data, "data", written, images)


def at_hand(part: ImageSource, images: ImageSetup) -> bool:
    """Return whether everything that a source is read from is there."""
    return all(
        place is not None
        and (images.root is not None or Path(place).is_absolute())
        and ((images.root or Path()) / place).exists()
        for _, place in part.below_root()
    )


def _stand_in(asked: Asked, part: ImageComponent) -> Asked:
    """Return the first of a part's stand-ins that is there; the part itself, which then says what is lacking."""
    assert asked.images is not None
    for number, one in enumerate(part.stand_ins):
        if at_hand(one, asked.images):
            key, written = f"{asked.key}.stand_ins[{number}]", asked.written["stand_ins"][number]
            return Asked(one, key, written, asked.images, stands_in=True)
    return asked


def opened(name: str, asked: Asked, progress: Callable[[int, int | None, str], None]) -> Source:
    """Return a source, found and hashed."""
    word: str = asked.written["source"]
    return Source(name, word, asked, getattr(asked.options, "take", None), OPENERS[word](asked, progress))


def cache_key(data: AnyData, at_most: Mapping[str, int] | None, sources: Iterable[Source]) -> str:
    """Return the hash of everything that decides what is written: options, contents, and our own code."""
    folders = [Path(module.__file__ or "").parent for module in (converters_records, data_readers)]
    if isinstance(data, VlmDataCommon):
        folders += [folders[0] / "ecg", folders[0].parent / "ecg_image"]
    code = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    code += sorted(Path(__file__).parent.glob("data*.py"))
    return canonical_sha256(
        {
            "format": FORMAT,
            "version": runner.__version__,
            "code": {f"{file.parent.name}/{file.name}": sha256_of(file) for file in code},
            "data": _without_places(data.model_dump(mode="json")),
            "at_most": dict(at_most) if at_most else None,
            "inputs": [[asdict(item) for item in source.reader.inputs] for source in sources],
            **({"images": _images_of(data, sources)} if isinstance(data, VlmDataCommon) else {}),
        }
    )


def _images_of(data: VlmDataCommon, sources: Iterable[Source]) -> dict[str, Any]:
    """Return what decides the paths of images: rows hold absolute ones."""
    return {
        "root": data.root,
        "sources": [
            [source.asked.key, str(source.asked.images.cache), source.reader.image_places()]
            for source in sources
            if isinstance(source.reader, ImageReader) and source.asked.images is not None
        ],
    }


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items() if key not in PLACES}
    return [_without_places(item) for item in value] if isinstance(value, list) else value
