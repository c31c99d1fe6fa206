"""What every shipped spec becomes, as text: a change of the config shows, and must be looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from converters import axolotl, deepspeed
from converters.numbers import numbers_of, stated_counts
from runner.validate import load_spec

SPECS = Path(__file__).parents[2] / "specs"
SHIPPED = sorted(str(path.relative_to(SPECS)) for path in SPECS.rglob("*.yaml"))


def test_there_are_specs() -> None:
    assert len(SHIPPED) >= 2


@pytest.mark.parametrize("name", SHIPPED)
def test_the_engine_config_is_the_golden_one(name: str, golden: Callable[[str, str], None]) -> None:
    spec = load_spec(SPECS / name, (), {}).spec
    numbers = numbers_of(spec, stated_counts(spec))
    golden(f"axolotl/{name}", axolotl.dump(axolotl.to_axolotl(spec, numbers)))
    zero = deepspeed.to_deepspeed(spec, numbers)
    if zero is not None:
        golden(f"deepspeed/{Path(name).with_suffix('.json')}", deepspeed.dump(zero))
