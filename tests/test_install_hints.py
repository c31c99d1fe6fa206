"""How this program is installed: never by a name that is a stranger's on the public index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from runner.spec.problems import how_to_install

ROOT = Path(__file__).parent.parent
OURS = ("runner", "converters", "eval", "medical-runner", "medical_runner")
TEXTS = (
    ".cfg", ".css", ".html", ".ini", ".j2", ".jinja", ".js", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", "",
)  # fmt: skip
INSTALLS = re.compile(r"(?:pip3?|uv|pipx)\s+(?:pip\s+)?(?:install|download|run)\b([^\n`;#]*)")
DOCS = (ROOT / "docs" / "validate.md").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("no git checkout")
    names = os.fsdecode(done.stdout).split("\0")
    return [ROOT / name for name in names if name and Path(name).suffix in TEXTS]


def named_by(line: str) -> list[str]:
    """Return the distributions that the words after `pip install` name: no options, no paths, no files of options."""
    found, skip = [], False
    for word in line.split():
        plain = word.strip("'\"(),.:")
        if skip or plain.startswith("-"):
            skip = plain in ("-c", "-r", "--constraint", "--requirement", "--python") and not skip
            continue
        name = re.match(r"[A-Za-z0-9_.-]+", plain)
        if name and "/" not in word and not word.strip("'\"").startswith("."):
            found.append(name[0].lower())
    return found


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (" 'runner[train]' to train", ["runner", "to", "train"]),
        (" -c constraints.txt '.[train]'", []),
        (" --constraint c.txt ./vendor/runner", []),
        (' "runner @ git+https://x/runner@v1"', ["runner"]),
        (" -U runner", ["runner"]),
    ],
)
def test_the_search_finds_names(line: str, names: list[str]) -> None:
    assert named_by(line)[: len(names)] == names


def test_nothing_advises_to_install_a_name_of_ours() -> None:
    files = tracked()
    assert len(files) > 400
    wrong = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in files
        if file != Path(__file__)
        for match in INSTALLS.finditer(file.read_text(encoding="utf-8", errors="replace"))
        if named_by(match[1])[:1] and named_by(match[1])[0] in OURS
    ]
    assert wrong == []


def test_no_extra_of_a_name_of_ours_stands_anywhere() -> None:
    """`runner[train]` is what an advice without the word `pip` would say."""
    said = re.compile(r"\b(?:medical-)?runner\[(?:train|eval|ecg|dev|cluster)\b")
    files = [file for file in tracked() if file not in (Path(__file__), ROOT / "CHANGELOG.md")]
    found = [str(f) for f in files if said.search(f.read_text("utf-8", errors="replace"))]
    assert found == []


def test_the_extras_of_the_hints_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "medical-runner"
    assert project["scripts"] == {"runner": "runner.cli:main"}
    said = {
        extra
        for file in (ROOT / "runner").rglob("*.py")
        for extra in re.findall(r"how_to_install\(['\"](\w+)['\"]", file.read_text(encoding="utf-8"))
    }
    assert {"train", "eval", "ecg"} <= said <= project["optional-dependencies"].keys()
    assert (ROOT / "constraints.txt").is_file()
    assert how_to_install("ecg") == "pip install -c constraints.txt '.[ecg]' (in the checkout of runner)"


@pytest.mark.parametrize("kind", ["sh", "pre-commit", "github", "hook"])
def test_the_lines_of_the_docs_check_specs(kind: str, tmp_path: Path) -> None:
    """Each is run as it stands, with the program of this checkout in the place of the installed one."""
    (tmp_path / "specs" / "more").mkdir(parents=True)
    text = (ROOT / "specs" / "quickstart" / "llm.yaml").read_text(encoding="utf-8")
    (tmp_path / "specs" / "llm.yaml").write_text(text)
    (tmp_path / "specs" / "more" / "b.yaml").write_text("extends: ../llm.yaml\nname: b\n")
    blocks = {
        head.split(":")[0]: body for head, body in re.findall(r"```yaml\n# (\S+)\n(.*?)```", DOCS, re.S)
    }
    hook = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))[0]
    config = yaml.safe_load(blocks[".pre-commit-config.yaml"])["repos"][0]["hooks"][0]
    steps = yaml.safe_load(blocks[".github/workflows/specs.yml"])["jobs"]["validate"]["steps"]
    lines = {
        "sh": next(line for line in re.findall(r"^\.venv-runner/bin/(runner .*)$", DOCS, re.M)),
        "pre-commit": config["entry"].removeprefix(".venv-runner/bin/"),
        "github": next(step["run"] for step in steps if step.get("run", "").startswith("runner ")),
        "hook": " ".join([hook["entry"], *hook["args"]]),
    }
    line = lines[kind]
    assert line.startswith("runner validate --untrusted --root . specs")
    program = f"{sys.executable} -m runner {line.removeprefix('runner ')}"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    right = subprocess.run(program, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert right.returncode == 0, right.stdout + right.stderr
    (tmp_path / "specs" / "more" / "c.yaml").write_text("extends: ../../outside.yaml\n")
    (tmp_path / "outside.yaml").symlink_to("/etc/hosts")
    assert subprocess.run(program, shell=True, cwd=tmp_path, env=environ, capture_output=True).returncode == 2


def test_the_docs_name_no_address_that_is_not_there() -> None:
    assert "OWNER" not in DOCS
    assert "v0.1.0" not in DOCS
