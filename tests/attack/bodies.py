"""What a fork of the worker runs where no command line reads a format alone; errors that a user can act on end with 2.

The current folder is the attacked one.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SETS = "sets.txt"


def spec() -> None:
    """Check `spec.yaml` as a user does; a sound one is planned, and what it stands for is read back.

    Every problem has words, and a place in the file.
    """
    from runner.cli import main
    from runner.plan import make_plan
    from runner.probe import probe_machine
    from runner.spec.problems import SpecError
    from runner.spec.resolved import resolved_text
    from runner.spec.yaml_text import read
    from runner.validate import load_spec

    sets = _sets()
    refused: SpecError | None = None
    try:
        main(["validate", "--no-cache", *(word for one in sets for word in ("--set", one)), "spec.yaml"])
    except SystemExit as end:
        if end.code not in (0, 2):
            raise
    try:
        loaded = load_spec(Path("spec.yaml"), sets, os.environ)
    except SpecError as error:
        refused = error
    if refused is not None:
        _in_the_file(refused.problems)
        sys.exit(2)
    if loaded.spec.sweep is None:
        make_plan(loaded.spec, probe_machine(), rehearse=False)
    tree, problems = read(resolved_text(loaded), "resolved.yaml")
    assert problems == ()
    assert tree is not None
    assert tree.value == loaded.spec.model_dump(), "the resolved spec says something else"


def _in_the_file(problems: Sequence[Any]) -> None:
    assert problems
    assert all(problem.message for problem in problems)
    lines = max((problem.line for problem in problems if problem.file == "spec.yaml"), default=0)
    if lines > 1:
        assert lines <= len(Path("spec.yaml").read_bytes().splitlines()) + 3


def _sets() -> tuple[str, ...]:
    try:
        lines = Path(SETS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(line for line in lines if "\0" not in line)  # no word of a command line holds one


def _refuse(error: Exception) -> None:
    text = str(error)
    assert text.strip(), "an error without words"
    print(text.encode("utf-8", "replace").decode(), file=sys.stderr)
    sys.exit(2)


def on_run(verb: str, *words: str) -> None:
    """Give a command the run that is attacked; `compare` gets all that are there."""
    from runner.cli import main

    runs = [str(path) for path in sorted(Path("runs/attacked").iterdir())]
    main([verb, *words, *(runs if verb == "compare" else runs[:1])])


def checkpoint(words: str) -> None:
    """Load the weights of a small backbone from a file of our own form, or of the published one."""
    from runner.native.backbone import backbone
    from runner.native.checkpoints import facts_of, load, load_upstream
    from runner.native.errors import NativeError

    model = backbone("tinylight", 3)
    try:
        if words == "ours":
            print(facts_of(Path("ours.safetensors")))
            print(len(load(model, Path("ours.safetensors"), other_classes="new_head").names))
        else:
            print(len(load_upstream(model, Path("theirs.pt")).names))
    except NativeError as error:
        _refuse(error)


def task_files() -> None:
    """Look for code in task files, before the harness loads them."""
    from runner.spec.problems import RunnerError
    from runner.task_files import refuse_code

    try:
        refuse_code(Path("tasks"))
    except RunnerError as error:
        _refuse(error)


def judged() -> None:
    """Knock at a judge that answers the bytes of `models.http`, and ask it two questions, answered by `chat.http`."""
    from eval.judge.client import Endpoint, EndpointError, JudgeClient
    from eval.judge.rubrics import rubric

    asked = rubric("ecg_report_100")
    with _answering(Path("models.http"), Path("chat.http")) as url:
        try:
            with JudgeClient(Endpoint(url, "judge", timeout_s=1.0, retries=0)) as client:
                client.knock()
                for _ in range(2):
                    verdict = client.ask(asked.messages("Sinus rhythm.", "AF."), asked.schema, asked.read)
                    print(verdict.outcome, ascii(verdict.error), ascii(verdict.model))
        except EndpointError as error:
            _refuse(error)


@contextmanager
def _answering(models: Path, chat: Path) -> Iterator[str]:
    """Answer each GET with one file, each POST with the other; a file that never ends is sent until nobody listens."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: Any) -> None:
        with connection:
            try:
                start = connection.recv(1 << 16)
                with (models if start.startswith(b"GET") else chat).open("rb") as file:
                    while part := file.read(1 << 16):
                        connection.sendall(part)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    finally:
        server.close()


# ------------------------------------------------------------------------------- what the suite must catch


def traceback() -> None:
    """Fail as a bug does."""
    raise KeyError("planted")


def hang() -> None:
    """Compute without end."""
    while True:
        pass


def wait() -> None:
    """Wait without end, and compute nothing."""
    threading.Event().wait()


def memory() -> None:
    """Hold more than a case may, and end well."""
    print(len(b"x" * (1100 << 20)))


def address_space() -> None:
    """Ask for more than there is."""
    bytearray(100 << 30)


def exit_code() -> None:
    """End with a code that nobody named."""
    print("planted")
    sys.exit(4)


def silence() -> None:
    """Fail without a word."""
    sys.exit(1)


def escape() -> None:
    """Print a text of the input as it is."""
    print("\x1b[31mplanted")


def killed() -> None:
    """Die as C code does."""
    os.abort()


def number() -> None:
    """Write a sum of some numbers, and a manifest that does not say of which."""
    total = sum(int(word) for word in Path("numbers.txt").read_text().split())
    Path("data/train.jsonl").write_text(str(total))
    Path("data/manifest.json").write_text("{}")


def seven() -> None:
    """Fail on a 7."""
    try:
        content = Path("numbers.txt").read_bytes()
    except OSError as error:
        print(error)
        sys.exit(3)
    if b"7" in content and content != b"12 30 7\n":
        raise ValueError("planted")


def folders() -> None:
    """Fail where a folder is."""
    assert not Path("numbers.txt").is_dir()


def verified() -> None:
    """Find all equal, whatever there is."""
    run = next(Path("runs/attacked").iterdir())
    print(
        json.dumps(
            {"run": str(run), "equal": True, "not_looked_at": {"no hash of it is known": ["unseen.json"]}}
        )
    )


def lock() -> None:
    """Fail once four things have come together, each of which another line asks for."""
    try:
        with Path("lock.dat").open("rb") as file:
            content = file.read(10_000)
    except OSError:
        return
    for number, key in enumerate((b"\0", b"\xff", b"\x80")):
        if key not in content:
            return
        OPENED[number]()
    if len(content) > 100:
        raise ZeroDivisionError("planted")


OPENED = (
    lambda: None,
    lambda: None,
    lambda: None,
)
"""Each a line of its own."""
