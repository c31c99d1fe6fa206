"""Which files are specs."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.spec.problems import UsageError
from runner.spec_files import find_specs
from runner.validate_many import problems_in


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "specs/b.yaml",
        "specs/a.yml",
        "specs/_part.yaml",
        "specs/.hidden.yaml",
        "specs/notes.md",
        "specs/deep/er/c.yaml",
        "specs/.git/config.yaml",
        "empty/notes.md",
        "other/_only_a_part.yaml",
        "project/mine.yaml",
        "project/runs/mine/one/plan.json",
        "project/runs/mine/one/spec.yaml",
        "project/runs/mine/one/resolved.yaml",
        "project/runs/mine/one/config/axolotl.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["specs"], ["specs/a.yml", "specs/b.yaml", "specs/deep/er/c.yaml"]),
        (["specs/deep"], ["specs/deep/er/c.yaml"]),
        (["specs/_part.yaml"], ["specs/_part.yaml"]),  # a file that is named is taken
        (["specs/notes.md"], ["specs/notes.md"]),
        (["specs/b.yaml", "specs"], ["specs/b.yaml", "specs/a.yml", "specs/deep/er/c.yaml"]),
        (["specs/.git"], ["specs/.git/config.yaml"]),
        (["project"], ["project/mine.yaml"]),  # what a run was made from is no spec of the project
        (["project/runs/mine/one/spec.yaml"], ["project/runs/mine/one/spec.yaml"]),
    ],
)
def test_found(paths: list[str], found: list[str]) -> None:
    assert [path.as_posix() for path in find_specs(map(Path, paths))] == found


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("empty", "no spec in empty"),
        ("other", "parts for `extends`"),
        ("spces", "nearest: specs"),
        ("specs/b.yml", "nearest: specs/b.yaml"),
        ("specs/b", "nearest: specs/b.yaml"),
        ("spces/b.yaml", "nearest: specs/b.yaml"),
        ("spces/x.yaml", "nearest: specs"),
        ("nothing/like/this", "nothing does not exist"),
        ("specs/b.yaml/c", "no file or folder specs/b.yaml/c"),
    ],
)
def test_not_found(path: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_specs([Path(path)])
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_link_to_a_folder_above_does_not_turn_for_ever(tree: Path) -> None:
    (tree / "specs" / "loop").symlink_to(tree)
    assert len(find_specs([tree / "specs"])) == 3


def test_what_several_specs_extend_is_reported_once(tree: Path, base_text: str) -> None:
    (tree / "_base.yaml").write_text(base_text.replace("rank: 8", "rnak: 8"))
    files = [tree / "one.yaml", tree / "two.yaml"]
    for number, file in enumerate(files):
        file.write_text(f"extends: _base.yaml\ntrain: {{sede: {number}}}\n")
    problems = problems_in(files, [], {})
    assert [(p.file, p.path) for p in problems] == [
        ("_base.yaml", "method.rnak"),
        ("one.yaml", "train.sede"),
        ("two.yaml", "train.sede"),
    ]
