"""A mapping of sections by the user's own names: found, described and mended like any other place."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from runner.spec.fields import Path, field_at, field_in, leaves, literals_in, parts_by_name
from runner.spec.section import Section, UnsoundError, key
from runner.spec.sound import sound_part
from runner.spec.vlm_sources import EcgInstructComponent, FromSignalsComponent, VlmData


class Whole(Section):
    """A spec of images alone."""

    data: VlmData = key(description="The data.")


class Grade(Section):
    """A section without a word that chooses it."""

    use: bool = key(True, "Whether it is used.")
    at: int = key(description="Where.", ge=0)


class Book(Section):
    """A section with a mapping of sections."""

    name: Literal["book"] = key(description="The word.")
    grades: dict[str, Grade] = key({}, "Grades by name.")
    words: dict[str, int] = key({}, "Numbers by name: no sections.")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("data", "components"), "data.components"),
        (("data", "components", "mimic", "use"), "data.components.mimic.use"),
        (("data", "components", "use", "use"), "data.components.use.use"),  # a part may be named like a key
        (("data", "components", "mimic", "stand_ins", 0, "format"), "data.components.mimic.stand_ins.format"),
        (("data", "components", "mimic", "no_such"), None),
    ],
)
def test_a_path_passes_through_the_name(path: Path, found: str | None) -> None:
    leaf = field_at(Whole, path)
    assert (leaf.path if leaf else None) == found
    if leaf and path[-1] == "use":
        assert leaf.field.default is True


def test_the_chosen_variant_below_a_name_is_found() -> None:
    data = {"data": {"source": "mixture", "components": {"a": {"source": "ecginstruct"}}}}
    leaf = field_in(Whole, ("data", "components", "a", "source"), data)
    assert leaf is not None
    assert literals_in(leaf.field.annotation) == ("ecginstruct",)


def test_a_mapping_of_numbers_is_no_mapping_of_sections() -> None:
    assert parts_by_name(Book.model_fields["words"].annotation) is None
    assert parts_by_name(Book.model_fields["grades"].annotation) is Grade


def test_each_key_of_a_part_is_listed_once() -> None:
    paths = [leaf.path for leaf in leaves(Whole)]
    assert "data.components.use" in paths
    assert len(paths) == len(set(paths))


def test_what_is_sound_beside_a_wrong_part_is_kept() -> None:
    data: dict[str, Any] = {"name": "book", "grades": {"a": {"use": False, "at": 1}, "b": {"at": -1}}}
    part = sound_part(Book, data, [("grades", "b", "at")])
    assert isinstance(part, Book)
    assert part.grades["a"] == Grade(use=False, at=1)
    with pytest.raises(UnsoundError):
        assert part.grades["b"].at


def test_a_wrong_part_of_several_sources_is_left_out_alone() -> None:
    split = {"by": "given"}
    components = {
        "a": {"source": "ecginstruct", "path": "a.json"},
        "b": {"source": "ecg_instruct_from_signals", "format": "ptbxl", "records": 0},
    }
    data = {"source": "mixture", "template": "gemma3", "split": split, "components": components}
    part = sound_part(Whole, {"data": data}, [("data", "components", "b", "records")])
    assert isinstance(part, Whole)
    assert part.data.source == "mixture"
    assert part.data.components["a"] == EcgInstructComponent(source="ecginstruct", path="a.json")
    broken = part.data.components["b"]
    assert isinstance(broken, FromSignalsComponent)
    assert broken.format == "ptbxl"
    with pytest.raises(UnsoundError):
        assert broken.records
