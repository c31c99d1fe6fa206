"""The command line: parse, call, print, return a code."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from runner import __version__
from runner.cli_data import data
from runner.cli_report import report
from runner.cli_results import compare, verify
from runner.cli_runs import runs
from runner.spec.problems import MachineError, Problem, RunnerError, SpecError, UsageError, how_to_install
from runner.terminal import say, say_json

if TYPE_CHECKING:
    from runner.spec_files import Trust


SETS = click.option("--set", "sets", multiple=True, metavar="A.B=VALUE", help="Change a value of the spec.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
SPEC = click.argument("spec", type=click.Path(path_type=Path))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="runner")
def cli() -> None:
    """One YAML spec per fine-tuning experiment: checked, planned, launched and judged.

    Exit codes: 0 done, 1 a stage failed, 2 spec or command line wrong, 3 the machine lacks
    something, 130 interrupted.
    """


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@SETS
@AS_JSON
@click.option("--sarif", is_flag=True, help="Print SARIF 2.1.0, for code scanning.")
@click.option("--no-cache", is_flag=True, help="Check every file, also one found sound before and unchanged.")
@click.option(
    "--untrusted",
    is_flag=True,
    help="For specs of others: read no file outside their folder, look up no variable, keep nothing.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With --untrusted: the folder that files are read from, instead of each spec's own.",
)
def validate(
    paths: tuple[Path, ...],
    sets: tuple[str, ...],
    as_json: bool,
    sarif: bool,
    no_cache: bool,
    untrusted: bool,
    root: Path | None,
) -> int:
    """Check spec files, or all specs below folders, and print every problem at once.

    Files found sound before are not checked again until something that this rests on changes: they, what they extend,
    a variable that they name, or runner itself. This is kept in XDG_CACHE_HOME, or in ~/.cache.
    """
    from runner.spec import output
    from runner.spec_files import Trust, find_specs

    if root is not None and not untrusted:
        raise UsageError("--root says where the files of --untrusted specs lie; give both")
    files = find_specs(paths)
    problems = _problems_in(files, sets, Trust(untrusted, root), no_cache=no_cache)
    if sarif:
        say_json(output.as_sarif(problems))
    elif as_json:
        say_json(output.as_json(problems, files))
    else:
        say(output.as_text(problems, files))
    return SpecError.exit_code if problems else 0


def _problems_in(
    files: Sequence[Path], sets: Sequence[str], trust: Trust, *, no_cache: bool
) -> list[Problem]:
    """Return the problems of all files; those found sound before are passed over, and those found so now are kept."""
    from runner.sound_files import SoundFiles

    sound = None if no_cache or trust.untrusted else SoundFiles.kept(os.environ)
    doubtful = [file for file in files if sound is None or not sound.has(file, sets)]
    if not doubtful:
        return []
    from runner.validate_many import (
        checked,
    )  # builds the classes of the spec, nearly all of the time that it takes

    found = checked(doubtful, sets, os.environ, trust)
    if sound is not None:
        for file, one in found.items():
            if not one.problems and one.digest is not None:
                sound.add(file, sets, one.read, one.digest)
        sound.store()
    return list(dict.fromkeys(problem for file in doubtful for problem in found[file].problems))


@cli.command()
@SPEC
@SETS
@AS_JSON
@click.option(
    "--rehearse", is_flag=True, help="Plan the rehearsal: tiny, on the CPU, the same way otherwise."
)
@click.option("--arm", help="One arm of the spec's sweep.")
def plan(spec: Path, sets: tuple[str, ...], as_json: bool, rehearse: bool, arm: str | None) -> int:
    """Print what `launch` would do, and do none of it."""
    from runner.plan import make_plan, plan_to_json
    from runner.probe import probe_machine
    from runner.show import plan_text
    from runner.sweeps.listing import plan_of_sweep
    from runner.validate import load_arm

    loaded, machine = load_arm(spec, arm, sets, os.environ), probe_machine()
    made = make_plan(loaded.spec, machine, rehearse=rehearse)
    swept = None if arm else plan_of_sweep(spec, loaded, sets, os.environ, machine, rehearse=rehearse)
    if as_json:
        value = plan_to_json(made) | (swept.to_json() if swept else {"arms": []})
        say_json(value)
    else:
        say(f"{plan_text(made)}\n\n{swept.to_text()}" if swept else plan_text(made))
    return 0


@cli.command()
@SPEC
@SETS
@AS_JSON
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write to."
)
@click.option("--rehearse", is_flag=True, help="The files of the rehearsal.")
@click.option("--arm", help="One arm of the spec's sweep.")
def convert(
    spec: Path, sets: tuple[str, ...], as_json: bool, out: Path, rehearse: bool, arm: str | None
) -> int:
    """Write the engine's own files: an Axolotl config, and a DeepSpeed one where the spec asks for it.

    Their paths are relative to the folder that training starts in.
    """
    from runner.files import write_text
    from runner.plan import make_plan
    from runner.probe import probe_machine
    from runner.validate import load_arm

    made = make_plan(load_arm(spec, arm, sets, os.environ).spec, probe_machine(), rehearse=rehearse)
    written = [out / file.path for file in made.files]
    for path, file in zip(written, made.files, strict=True):
        write_text(path, file.text)
    names = [str(path) for path in written]
    say_json({"files": names}) if as_json else say("\n".join(names))
    return 0


@cli.command()
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@SETS
@AS_JSON
@click.option(
    "--rehearse", is_flag=True, help="Prove the whole way tiny, on the CPU, without the model's weights."
)
@click.option("--arm", help="One arm of the spec's sweep, and not all of them.")
@click.option("--runs", default="runs", type=click.Path(path_type=Path), help="Folder of run directories.")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a run, or with a sweep."
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
def launch(
    spec: Path | None,
    sets: tuple[str, ...],
    as_json: bool,
    rehearse: bool,
    arm: str | None,
    runs: Path,
    resume: Path | None,
    quiet: bool,
) -> int:
    """Do it: data, baseline, training, evaluation, report. The last line is the run directory.

    Of a spec with a sweep: every arm that is not done yet, one after another, then all side by side. The last line is
    the sweep's folder, which --resume takes too.
    """
    from runner import launching
    from runner.progress import tell
    from runner.sweeps import launch as sweeping
    from runner.sweeps.folder import is_sweep
    from runner.validate import load_arm

    begun: launching.Prepared | sweeping.PreparedSweep
    if resume is not None:
        if spec is not None or sets or rehearse or arm:
            raise UsageError(
                "--resume goes on with a run as it was planned; it takes no spec, --set, --arm or --rehearse"
            )
        begun = sweeping.resumed(resume) if is_sweep(resume) else launching.resumed(resume)
    elif spec is None:
        raise UsageError("give a spec, or --resume RUN")
    else:
        loaded = load_arm(spec, arm, sets, os.environ)
        if loaded.spec.sweep is not None:
            begun = sweeping.prepared(spec, loaded, sets, runs, os.environ, rehearse=rehearse)
        else:
            begun = launching.prepared(loaded, runs, os.environ, rehearse=rehearse, now=datetime.now(UTC))
    if isinstance(begun, launching.Prepared):
        finished = launching.run(begun, os.environ, quiet=quiet, say=tell)
    else:
        finished = sweeping.run(begun, os.environ, quiet=quiet, say=tell)
    say_json(finished.summary) if as_json else say(finished.text)
    return finished.exit_code


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@AS_JSON
def status(run: Path, as_json: bool) -> int:
    """Print the state of a run, or of a sweep and its arms: pending, running, done, failed, interrupted."""
    from runner.launching import state_of
    from runner.sweeps.folder import is_sweep, state_of_sweep
    from runner.sweeps.listing import arms_text

    value = state_of_sweep(run) if is_sweep(run) else state_of(run)
    line = f"{value['state']}  {value['reason']}".rstrip()
    text = f"{line}\n\n{arms_text(value['arms'])}" if "arms" in value else line
    say_json(value) if as_json else say(text)
    return 0


@cli.command()
@click.argument("word")
@AS_JSON
def explain(word: str, as_json: bool) -> int:
    """Say what a rule (R012), a code (unknown-key) or a key (train.batch.micro, lora_alpha) means."""
    from runner.explain import explain as explanation

    text = explanation(word)
    say_json({"word": word, "text": text}) if as_json else say(text)
    return 0


@cli.command()
@click.option("--kind", default="llm", help="Kind of spec.")
def schema(kind: str) -> int:
    """Print the JSON Schema of a kind of spec, for editors and other validators."""
    from runner.docs import schema_text
    from runner.spec.kinds import KINDS
    from runner.spec.nearest import nearest
    from runner.spec.problems import choices

    if kind not in KINDS:
        near = nearest(kind, KINDS)
        raise UsageError(f"unknown kind {kind!r}; {choices(KINDS)}" + (f"; nearest: {near}" if near else ""))
    say(schema_text(kind), nl=False)
    return 0


for command in (data, report, verify, compare, runs):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    alone = arguments is None and words[:1] == ["validate"]
    if alone:
        _hurry()
    try:
        code: Any = cli.main(words, prog_name="runner", standalone_mode=False)
    except RunnerError as error:
        _report_error(error, words)
        code = error.exit_code
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "runner", "converters", "eval"):
            raise  # a fault of ours
        lacking = _lacking(error.name or "")
        _report_error(lacking, words)
        code = lacking.exit_code
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        say(told.getvalue(), err=True, nl=False)
        code = UsageError.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        from runner.files import full_disk

        if (full := full_disk(error)) is None:
            raise  # a fault of ours
        said = full if error.filename else f"cannot write the answer: {error.strerror}"
        say(f"runner: {said}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = MachineError.exit_code
    code = code if isinstance(code, int) else 0
    if alone:
        _end(code)
    sys.exit(code)


def _lacking(package: str) -> MachineError:
    """Return what to say where a package is missing that a core install does not bring."""
    return MachineError(
        f"this needs the package {package}, which is not installed; nothing was written\n"
        f"  to judge, compare and report: {how_to_install('eval')}\n"
        f"  to train, instead of eval: train for llm and vlm, ecg for ecg"
    )


def _hurry() -> None:
    """Leave out what a short process gains nothing from: together a seventh of the time of `validate`.

    Looking for cycles among classes that all stay, and for plugins of pydantic in every package that is installed.
    """
    gc.set_threshold(200_000)
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "true"


def _end(code: int) -> NoReturn:
    """End a process that holds nothing but what it has printed.

    Taking the spec's classes apart one by one would be a sixth of the time of `validate`.
    """
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed before we began
                stream.flush()
    except BrokenPipeError:
        code = 1
    os._exit(code)


def _report_error(error: RunnerError, words: Sequence[str]) -> None:
    """Print an error: as JSON on stdout where that was asked for, as text on stderr otherwise."""
    if "--json" in words:
        problems: tuple[Problem, ...] = error.problems if isinstance(error, SpecError) else ()
        value = {"error": str(error), "exit_code": error.exit_code, "problems": [vars(p) for p in problems]}
        say_json(value)
    else:
        prefix = "" if isinstance(error, SpecError) else "runner: "
        say(prefix + str(error), err=True)


if __name__ == "__main__":
    main()
