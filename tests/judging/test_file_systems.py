"""Data sets whose addresses carry a program: none of them runs, through lm-eval or through the source huggingface."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from converters.lm_eval import code_in

pytest.importorskip("datasets", reason="needs the train extra")

TASK = {
    "task": "own", "dataset_path": "json", "test_split": "test", "output_type": "generate_until", "doc_to_text": "{{q}}",
    "doc_to_target": "{{a}}", "generation_kwargs": {"until": ["x"]}, "metric_list": [{"metric": "exact_match"}],
}  # fmt: skip
LEAVES = """
import sys
from runner.judging import harness
from runner.spec.problems import RunnerError
harness.refuse_code = lambda folder: None  # what the check has missed
task = {"task": "lm_eval", "tasks": ["own"], "few_shot": None, "limit": None, "batch": 4, "chat_template": False,
        "seed": 1, "data": None, "include": sys.argv[1], "questions": "real"}
try:
    harness.load_leaves(task)
except RunnerError as error:
    print("refused:", error)
"""
READER = """
import sys
from runner.data_readers.common import Asked
from runner.data_readers.huggingface import open_huggingface
from runner.spec.problems import RunnerError
from runner.spec.sources import HuggingfaceSource
source = HuggingfaceSource.model_construct(source="huggingface", id=sys.argv[1], subset=None, revision=None, part="test")
try:
    list(open_huggingface(Asked(source, "data", {}), lambda *seen: None).raws(lambda *seen: None))
except RunnerError as error:
    print("refused:", error)
"""


def program(mark: Path) -> dict[str, object]:
    """What `reference://` of fsspec renders as a template, without a sandbox."""
    run = f"{{{{ cycler.__init__.__globals__.os.system('touch {mark}') }}}}"
    return {
        "version": 1,
        "refs": {"test.jsonl": '{"q": "a", "a": "b"}\n'},
        "gen": [{"key": f"x{run}", "url": "file:///nothing", "dimensions": {"i": {"stop": 1}}}],
    }


@pytest.mark.parametrize("way", ["inline", "chained", "card", "source"])
def test_an_address_runs_no_program(tmp_path: Path, way: str) -> None:
    mark, data, tasks = tmp_path / "ran", tmp_path / "data", tmp_path / "tasks"
    for folder in (data, tasks):
        folder.mkdir()
    (data / "ref.json").write_text(json.dumps(program(mark)))
    address = f"reference://test.jsonl::file://{data / 'ref.json'}"
    (data / "README.md").write_text(
        f'---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: "{address}"\n---\n'
    )
    kwargs = {"data_files": {"test": address}}
    if way == "inline":
        kwargs = {
            "data_files": {"test": "reference://test.jsonl"},
            "storage_options": {"reference": {"fo": program(mark)}},  # type: ignore[dict-item]
        }
    task = TASK | ({"dataset_path": str(data)} if way == "card" else {"dataset_kwargs": kwargs})
    (tasks / "own.yaml").write_text(json.dumps(task))
    words = [READER, str(data)] if way == "source" else [LEAVES, str(tasks)]
    done = subprocess.run(
        [sys.executable, "-c", *words], capture_output=True, text=True, check=False, timeout=300
    )
    assert not mark.exists(), done.stdout
    assert done.stdout.startswith("refused:"), done.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"dataset_kwargs": {"data_files": {"test": "reference://a::file:///b"}}}, "the address"),
        ({"dataset_kwargs": {"data_files": ["https://example.org/a.json"]}}, "the address"),
        ({"dataset_kwargs": {"storage_options": {"reference": {}}}}, "storage_options"),
        ({"use_prompt": "/any/place/p.yaml:a"}, "use_prompt"),
    ],
)
def test_addresses_and_other_files_are_refused_in_a_task_file(more: dict[str, object], said: str) -> None:
    assert [found.what[: len(said)] for found in code_in(json.dumps(TASK | more))] == [said]
    beside = {"dataset_kwargs": {"data_files": {"test": "beside.jsonl"}}}
    assert list(code_in(json.dumps(TASK | beside))) == []
