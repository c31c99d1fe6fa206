"""Specs that somebody else wrote to do harm: refused with a place, in time, and without a word that is not theirs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runner.cli import cli
from runner.spec.load import MAX_FILES
from runner.spec.problems import Problem, SpecError
from runner.spec.text_file import UnreadableError, read_bytes
from runner.validate import load_spec
from runner.validate_many import checked

HERE = Path(__file__).parent
FIELD = HERE / "hostile"
Check = Callable[..., tuple[Problem, ...]]
HANGS_S = 60
"""What is quadratic, or waits for a pipe, takes longer on any machine; no measure of speed."""

pytestmark = pytest.mark.timeout(HANGS_S)


def problems_of(file: Path, within: Path | None = None) -> tuple[Problem, ...]:
    try:
        load_spec(file, [], os.environ, within)
    except SpecError as error:
        return error.problems
    return ()


def validate(*words: str | Path) -> Result:
    result = CliRunner().invoke(cli, ["validate", "--no-cache", *map(str, words)], standalone_mode=False)
    assert result.exception is None, result.exception
    return result


# ------------------------------------------------------------------------------ inputs from the field


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("dup_section", {("duplicate-key", 6, "train"), ("missing-key", 6, "train.batch")}),
        ("dup_list", {("duplicate-key", 4, "evaluate"), ("wrong-type", 4, "evaluate")}),
        ("dup_null", {("duplicate-key", 4, "train"), ("wrong-type", 4, "train")}),
        ("sweep_noname", {("missing-key", 1, "name"), ("missing-key", 1, "train")}),
        ("sweep_badname", {("wrong-type", 2, "name")}),
    ],
)
def test_each_has_problems_at_their_places(name: str, places: set[tuple[str, int, str]]) -> None:
    found = {(problem.code, problem.line, problem.path) for problem in problems_of(FIELD / f"{name}.yaml")}
    assert places <= found


def test_all_at_once_on_the_command_line() -> None:
    result = validate(FIELD)
    assert result.return_value == 2
    assert "\x1b" not in result.output
    assert r"\x1b[31mRED\x1b[0m\x1b]0;title\x07: unknown key" in result.output


@pytest.mark.parametrize(
    ("sweep", "place"),
    [
        ("control: 5", "sweep.control"),
        ("controls: [a]", "sweep.controls"),
        ("controls: {a: 5}", "sweep.controls.a"),
    ],
)
def test_a_sweep_without_a_sound_control(
    sweep: str, place: str, base_text: str, problems_of_text: Check
) -> None:
    text = base_text + f"sweep: {{axes: {{method.rank: [4, none]}}, {sweep}}}\n"
    found = [(problem.code, problem.path) for problem in problems_of_text(text)]
    assert ("wrong-type", place) in found
    assert ("wrong-type", "sweep.axes.method.rank") in found  # the arms are checked nevertheless


def test_a_replaced_section_leaves_no_place(base_text: str, problems_of_text: Check) -> None:
    text = base_text + "train: {epochs: [1, {a: [2]}]}\n"
    (twice, *rest) = problems_of_text(text)
    assert (twice.code, twice.path, twice.line) == ("duplicate-key", "train", base_text.count("\n") + 1)
    assert {problem.line for problem in rest} == {twice.line}


# ------------------------------------------------------------------------------ files that are no specs


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(UnreadableError, match="it is a pipe"):
        read_bytes(tmp_path / "pipe", 10)
    with pytest.raises(UnreadableError, match="it is a device"):
        read_bytes(tmp_path / "link", 10)
    with pytest.raises(UnreadableError, match="it is a folder"):
        read_bytes(tmp_path, 10)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte that takes no room
    with pytest.raises(UnreadableError, match="1,099,511,627,776 bytes; at most 10 are read"):
        read_bytes(tmp_path / "sparse", 10)


def test_a_file_that_says_it_is_empty_is_bounded_too() -> None:
    """What lies below /proc has size 0 and content."""
    with pytest.raises(UnreadableError, match="at most 10 are read"):
        read_bytes(Path("/proc/self/status"), 10)


@pytest.mark.parametrize(
    ("extends", "says"),
    [
        ("/dev/zero", "'/dev/zero' is a device"),
        ("pipe", "'pipe' is a pipe"),
        (".", "'.' is a folder"),
        ('"a\\0b"', r"no file 'a\x00b' beside"),
        ("x" * 5000, "no file 'xxx"),
        ("5", "got the number 5"),
        ("{a: b}", "got a mapping"),
        ("[a.yaml, [b]]", "got a list"),
        ("loop.yaml", "no file 'loop.yaml'"),
        ("../{here}/spec.yaml", "a circle"),
        ("[" + "spec.yaml, " * 30 + "]", "a circle"),
    ],
)
def test_what_extends_may_not_name(
    extends: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    file = tmp_path / "spec.yaml"
    file.write_text(f"spec: 1\nextends: {extends.replace('{here}', tmp_path.name)}\n")
    (found,) = checked([file], [], {}).values()
    assert any(says in problem.message for problem in found.problems if problem.code == "extends")


def test_files_that_extend_one_another_twice_each_are_not_read_a_million_times(tmp_path: Path) -> None:
    for number in range(18):
        (tmp_path / f"{number}.yaml").write_text(f"extends: [{number + 1}.yaml, {number + 1}.yaml]\n")
    (tmp_path / "18.yaml").write_text("spec: 1\n")
    (found,) = checked([tmp_path / "0.yaml"], [], {}).values()
    assert f"more than {MAX_FILES} files are read for one spec" in {p.message for p in found.problems}
    assert len(found.read) == 19


def test_nothing_of_a_file_that_is_no_spec_is_said(tmp_path: Path) -> None:
    """The first lines of a table of users are one YAML text."""
    (tmp_path / "users").write_text("root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1\n")
    (tmp_path / "spec.yaml").write_text("extends: users\nspec: 1\n")
    result = validate(tmp_path)
    assert "expected a mapping of keys and values, got text of" in result.output
    assert "root" not in result.output.replace(str(tmp_path), "")


# ------------------------------------------------------------------------------ specs of others


def test_untrusted_reads_nothing_outside_of_its_folder(tmp_path: Path, base_text: str) -> None:
    (tmp_path / "specs" / "more").mkdir(parents=True)
    (tmp_path / "outside.yaml").write_text("hidden_word: 1\n")
    (tmp_path / "specs" / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (tmp_path / "specs" / "base.yaml").write_text(base_text)
    for name in ("/etc/passwd", "../outside.yaml", "link.yaml", "nowhere/../../outside.yaml", "../no.yaml"):
        (tmp_path / "specs" / "spec.yaml").write_text(f"extends: [base.yaml, {name}]\n")
        result = validate("--untrusted", tmp_path / "specs" / "spec.yaml")
        assert result.return_value == 2
        assert f"extends: {name!r} lies outside of" in result.output
        assert "--root DIR" in result.output
        assert "hidden_word" not in result.output
        assert "root:" not in result.output
    alone = validate("--untrusted", tmp_path / "specs" / "link.yaml")
    assert "leads out of" in alone.output
    assert "hidden_word" not in alone.output


def test_the_root_of_untrusted_specs_can_be_named(tmp_path: Path, base_text: str) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "base.yaml").write_text(base_text)
    spec = tmp_path / "specs" / "spec.yaml"
    spec.write_text("extends: ../base.yaml\n")
    assert validate("--untrusted", spec).return_value == 2
    assert validate("--untrusted", "--root", tmp_path, spec).return_value == 0
    assert validate("--untrusted", "--root", tmp_path / "specs", spec).return_value == 2
    assert validate(spec).return_value == 0


def test_root_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("spec: 1\n")
    result = CliRunner().invoke(
        cli, ["validate", "--root", str(tmp_path), str(tmp_path)], standalone_mode=False
    )
    assert "--untrusted" in str(result.exception)


def test_untrusted_looks_no_variable_up(
    tmp_path: Path, base_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "16")
    file = tmp_path / "spec.yaml"
    file.write_text(base_text.replace("rank: 8", "rank: ${env:RANK}"))
    assert problems_of(file) == ()
    (problem,) = problems_of(file, within=tmp_path)
    assert problem.message == "the environment variable RANK is not looked up with --untrusted"
    assert problem.hint == "give a default: ${env:RANK:-default}"
    file.write_text(base_text.replace("rank: 8", "rank: ${env:RANK:-8}"))
    assert problems_of(file, within=tmp_path) == ()
    file.write_text(base_text + "sweep: {axes: {method.rank: [4, '${env:RANK}']}}\n")
    found = problems_of(file, within=tmp_path)
    assert found
    assert all("RANK is not looked up" in problem.message for problem in found)


def test_untrusted_keeps_nothing(tmp_path: Path, base_text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "spec.yaml").write_text(base_text)
    words = ["validate", "--untrusted", str(tmp_path / "spec.yaml")]
    assert CliRunner().invoke(cli, words, standalone_mode=False).return_value == 0
    assert not (tmp_path / "cache").exists()


# ------------------------------------------------------------------------------ values of variables

VALUE = "71-Xq_pqz"


@pytest.mark.parametrize(
    ("edit", "value", "kind"),
    [
        (("rank: 8", "rank: ${env:PLACE}"), VALUE, "text of 9 letters"),
        (("rank: 8", "rank: ${env:PLACE}"), "-7391", "a number of 5 characters"),
        (("rank: 8", "rank: ${env:PLACE}"), "7391.5", "a number of 6 characters"),
        (("learning_rate: 2e-4", "learning_rate: ${env:PLACE}"), "-7391", "a number of 5 characters"),
        (("schedule: cosine", "schedule: ${env:PLACE}"), VALUE, "text of 9 letters"),
        (("schedule: cosine", "schedule: ${env:PLACE}"), "7391", "a number of 4 characters"),
        (("device: cpu", "device: ${env:PLACE}"), VALUE, "text of 9 letters"),
        (("include: [language.attention]", "include: ${env:PLACE}"), VALUE, "text of 9 letters"),
    ],
)
def test_no_value_of_a_variable_is_printed(
    edit: tuple[str, str],
    value: str,
    kind: str,
    base_text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert edit[0] in base_text
    monkeypatch.setenv("PLACE", value)
    file = tmp_path / "spec.yaml"
    file.write_text(base_text.replace(*edit))
    for form in ([], ["--json"], ["--sarif"]):
        result = validate(*form, file)
        assert result.return_value == 2
        assert value not in result.output.replace(str(tmp_path), "")
        assert f"${{env:PLACE}}, {kind}" in result.output


def test_a_rule_names_the_variable_and_not_its_value(
    base_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R003: 7,392 is no multiple of the micro batch 4 times the devices... 7,391 is odd."""
    monkeypatch.setenv("PLACE", "7391")
    file = tmp_path / "spec.yaml"
    file.write_text(base_text.replace("effective: 8", "effective: ${env:PLACE}"))
    result = validate(file)
    assert "[R003]" in result.output
    assert "${env:PLACE}" in result.output
    assert re.search("7,?391", result.output.replace(str(tmp_path), "")) is None


# ------------------------------------------------------------------------------ text that a terminal obeys


def test_json_stays_json_and_says_the_same(tmp_path: Path) -> None:
    key = "a\x9b31m\u202eb\x7f"
    text = json.dumps({"spec": 1, "kind": "llm", key: 1})  # JSON is YAML
    (tmp_path / "spec.yaml").write_text(text)
    result = validate("--json", tmp_path)
    assert not set(key) & set("\x9b\u202e\x7f") & set(result.output)
    assert key in {problem["path"] for problem in json.loads(result.output)["problems"]}
    assert not set(validate("--sarif", tmp_path).output) & set("\x9b\u202e\x7f")
    assert r"a\x9b31m\u202eb\x7f: unknown key" in validate(tmp_path).output


def test_a_key_cannot_pass_for_a_line_of_ours(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text('spec: 1\nkind: llm\n"x\\n1 spec checked, no problems": 1\n')
    lines = validate(tmp_path).output.splitlines()
    assert r"x\n1 spec checked" in "\n".join(lines)
    assert not any(line.startswith("1 spec checked") for line in lines)


def test_a_file_name_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J\u202e.yaml").write_text("spec: 1\n")
    output = validate(tmp_path).output
    assert r"a\x1b[2J\u202e.yaml" in output
    assert not set(output) & {"\x1b", "\u202e"}


# ------------------------------------------------------------------------------ many of something


@pytest.mark.parametrize(
    "text",
    [
        "spec: 1\nkind: llm\n" + "".join(f"k{n}: 1\n" for n in range(12_000)),
        "spec: 1\nkind: llm\n" + "name: x\n" * 12_000,
        "spec: 1\nkind: llm\ntrain: {" + ", ".join(f"learning_rat{n}: 1" for n in range(8_000)) + "}",
        "spec: 1\nkind: llm\nevaluate: [" + "{tsk: a}, " * 5_000 + "]",
        "spec: 1\nkind: llm\nreference: {source: x, metrics: [" + "{metrc: a}, " * 5_000 + "]}",
        "spec: 1\nkind: vlm\ndata: {source: mixture, components: {"
        + ", ".join(f"c{n}: {{source: x, pth: a}}" for n in range(2_500))
        + "}}",
    ],
    ids=["keys", "twice", "near", "tags", "metrics", "components"],
)
def test_a_great_many_faults_take_seconds_and_few_lines(text: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(text)
    result = validate(tmp_path / "spec.yaml")
    assert result.return_value == 2
    assert len(result.output) < 100_000
    assert result.output.count("\n") < 500


def test_a_great_many_unknown_tasks(tmp_path: Path, base_text: str) -> None:
    names = ", ".join(f"mmlu_{n}" for n in range(9_000))
    (tmp_path / "spec.yaml").write_text(
        base_text.replace("evaluate:", f"evaluate:\n  - {{task: lm_eval, tasks: [{names}]}}")
    )
    assert "and 8,800 more problems" in validate(tmp_path / "spec.yaml").output


def test_a_sweep_over_a_huge_spec(tmp_path: Path, base_text: str) -> None:
    notes = "x: [" + "1, " * 9_000 + "]\n"
    seeds = ", ".join(map(str, range(200)))
    (tmp_path / "spec.yaml").write_text(base_text + notes + f"sweep: {{seeds: [{seeds}]}}\n")
    assert "200 arms of a spec with 9," in validate(tmp_path / "spec.yaml").output


def test_a_sweep_of_long_names(tmp_path: Path, base_text: str) -> None:
    arms = ", ".join(f"{'a' * 90}{n}: {{train.seed: {n}}}" for n in range(190))
    controls = ", ".join(f"{'b' * 90}{n}: {'c' * 90}{n}" for n in range(190))
    (tmp_path / "spec.yaml").write_text(
        base_text + f"sweep: {{arms: {{{arms}}}, controls: {{{controls}}}}}\n"
    )
    assert len(validate(tmp_path / "spec.yaml").output) < 300_000


@pytest.mark.parametrize(
    "text",
    [
        "extends:" + " " * 900_000 + "\nspec: 1\n",
        "extends:" + "\n" * 900_000 + "\nspec: 1\n",
        "name: '" + "${env:A:-" * 100_000 + "'\nkind: llm\n",
        "kind: " + "x" * 900_000,
        "kind: llm\nsweep: {axes: {" + "a." * 9_000 + "b: [1]}}\n",
        "a: " + "&a {b: " * 45 + "[" + "1, " * 20_000 + "]" + "}" * 45,
    ],
    ids=["spaces", "lines", "placeholders", "word", "path", "anchors"],
)
def test_a_great_deal_of_one_thing(text: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("kind: ecg\n")
    assert validate(tmp_path).return_value == 2


@pytest.mark.parametrize("change", ["a." * 5000 + "b=1", "train.seed=" + "[" * 5000, "train.seed=1" * 5000])
def test_a_long_set(change: str, tmp_path: Path, base_text: str) -> None:
    (tmp_path / "spec.yaml").write_text(base_text)
    assert validate("--set", change, tmp_path).return_value == 2


def test_one_cause_at_many_places_is_said_with_five_of_them(tmp_path: Path, base_text: str) -> None:
    metrics = ", ".join(["{metric: loss, value: 1}"] * 20)
    text = re.sub(
        r"reference:.*?\n(?=\w)", f"reference: {{source: x, metrics: [{metrics}]}}\n", base_text, flags=re.S
    )
    (tmp_path / "spec.yaml").write_text(text)
    result = validate(tmp_path)
    assert result.output.count("comparable: missing key") == 5
    assert "and the same at 15 more places" in result.output
    assert "20 problems in" in result.output
    assert len(json.loads(validate("--json", tmp_path).output)["problems"]) == 20
