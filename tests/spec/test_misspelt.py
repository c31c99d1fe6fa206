"""One letter wrong in a key: every key of every shipped spec, once."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.spec.problems import Problem
from runner.spec.yaml_text import Path as SpecPath
from runner.spec.yaml_text import Tree, dotted, read
from tests.support.specs import specs_of_kind

ROOT = Path(__file__).parent.parent.parent
SPECS = [path.relative_to(ROOT) for path in specs_of_kind() if "\nextends: " not in path.read_text()]
SEED = 20260101


def slip(word: str, rng: random.Random) -> str:
    """Return `word` with one letter dropped, doubled, or swapped with its neighbour."""
    place = rng.randrange(len(word))
    kind = rng.choice(("drop", "double", "swap"))
    if kind == "swap":
        swaps = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
        place = rng.choice(swaps)
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == "drop" and len(word) > 2:
        return word[:place] + word[place + 1 :]
    return word[: place + 1] + word[place:]


def misspelt(text: str, tree: Tree, rng: random.Random) -> Iterator[tuple[SpecPath, str, str]]:
    """Yield, for every key, its path, the slip and the text with that one slip."""
    lines = text.splitlines(keepends=True)
    for path, mark in tree.keys.items():
        if path[-2:-1] in (("labels",), ("components",)):
            continue  # names of the user's own
        key = str(path[-1])
        wrong = slip(key, rng)
        line = lines[mark.line - 1]
        start = mark.column - 1
        assert line[start:].startswith(key)
        changed = [*lines]
        changed[mark.line - 1] = line[:start] + wrong + line[start + len(key) :]
        yield path, wrong, "".join(changed)


def test_there_are_specs() -> None:
    assert len(SPECS) >= 2


def test_every_slip_is_refused_and_nearly_all_get_the_right_word(
    problems_of_text: Callable[..., tuple[Problem, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    total, right, wrong = 0, 0, []
    for file in SPECS:
        text = (ROOT / file).read_text(encoding="utf-8")
        tree, problems = read(text, str(file))
        assert tree is not None
        assert problems == ()
        rng = random.Random(f"{SEED} {file}")
        for path, word, changed in misspelt(text, tree, rng):
            found = problems_of_text(changed)
            place = dotted((*path[:-1], word))
            about = [p for p in found if p.path == place and p.code == "unknown-key"]
            assert about, f"{file}: {place} for {dotted(path)} was not refused"
            assert about[0].line == tree.keys[path].line
            total += 1
            suggested = re.match(r"nearest: ([^;,]+)", about[0].hint)
            if suggested and suggested[1] == path[-1]:
                right += 1
            else:
                wrong.append(f"{file}: {place}: {about[0].hint}")
    with capsys.disabled():
        print(f"\n{right} of {total} misspelt keys got the right word ({right / total:.1%}); not: {wrong}")
    assert total >= 80
    assert right / total >= 0.95


def test_a_slip_is_one_change_away() -> None:
    rng = random.Random(SEED)
    for word in ("by", "seed", "learning_rate", "id"):
        for _ in range(50):
            assert slip(word, rng) != word
