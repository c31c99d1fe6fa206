"""Fixtures of the converter tests: specs and configs by changes, and Axolotl's own validation."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from converters.axolotl import to_axolotl
from converters.numbers import Counts, numbers_of, stated_counts
from runner.spec.model import LlmSpec

OFFLINE = {"HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1"}

ENGINES = (
    "transformers",
    "peft",
    "axolotl.cli.config",
    "axolotl.core.builders.base",
    "axolotl.prompt_strategies.chat_template",
    "axolotl.utils.chat_templates",
    "axolotl.utils.freeze",
    "deepspeed.runtime.config",
    "transformers.integrations.deepspeed",
)
"""What the tests import of the engines."""


@pytest.fixture
def config_of(make_spec: Callable[..., LlmSpec]) -> Callable[..., dict[str, Any]]:
    """Return a function from changes of the small spec, and record counts, to the Axolotl config."""

    def config(changes: dict[str, Any] | None = None, counts: Counts | None = None) -> dict[str, Any]:
        spec = make_spec(changes)
        return to_axolotl(spec, numbers_of(spec, counts or stated_counts(spec)))

    return config


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """Import the engines, silence what they warn of while they are imported, and keep them offline."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for module in ENGINES:
                pytest.importorskip(module, reason="needs the `train` extra")
        yield


@pytest.fixture
def axolotl_validates(
    engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return Axolotl's own validation of a config, as its command line does it.

    Our plugin is registered, as Axolotl does before it validates, and writes its first proof into the
    working directory; what is returned is what Axolotl trains with.
    """
    monkeypatch.chdir(tmp_path)
    from axolotl.cli.config import gpu_capabilities, prepare_plugins
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    def validated(config: dict[str, Any]) -> dict[str, Any]:
        loaded = DictDefault(copy.deepcopy(config))
        capabilities, environment = gpu_capabilities()
        prepare_plugins(loaded)
        result = validate_config(loaded, capabilities=capabilities, env_capabilities=environment)
        plain: dict[str, Any] = result.to_dict()
        return plain

    return validated
