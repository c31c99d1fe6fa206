"""Answers written by the model and graded by a judge behind an endpoint, while the next are written.

What is sent is the answer and its reference, nothing else of a record. A record's line is written once
it has an outcome that will stay; what the endpoint alone is to blame for is asked again by a continued
run, and is counted where it stays so to the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval.entities import vocabulary_sha256
from eval.judge.address import STAND_IN, is_this_machine
from eval.judge.cache import ReplyCache, request_key
from eval.judge.client import Endpoint, EndpointError, JudgeClient, Verdict
from eval.judge.outcomes import JUDGED, OF_THE_ENDPOINT
from eval.judge.rubrics import BadReplyError, Rubric, rubric
from runner.judging.entities import options_of
from runner.judging.generation import answers
from runner.judging.lines import Lines
from runner.judging.run import Judging
from runner.judging.stand_in import stand_in
from runner.spec.problems import DataError, MachineError

CACHE = Path("eval/judge_cache")
"""Of this run, where the spec names no folder: what the baseline asked is not asked again."""
IN_A_ROW = 5
"""So many records in a row that the endpoint alone is to blame for end the judging; it can be continued."""
WAITING_PER_THREAD = 4
"""Answers written ahead of the judge, which bounds what an interruption loses."""
KEPT_REPLY = 2000
"""Characters kept of a bad answer."""

Line = dict[str, Any]
Asking = Callable[[str, str], Line]
Written = Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
"""Records, each with its answer's part of the line."""


def lock(run: Judging, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must also be equal for two results to be comparable."""
    return locked(task["rubric"])


def locked(name: str) -> dict[str, Any]:
    """Return what two results by a rubric must have in common."""
    asked = rubric(name)
    return {
        "rubric": {"name": asked.name, "version": asked.version, "sha256": asked.prompt_sha256},
        "vocabulary": vocabulary_sha256(),
    }


def predict(run: Judging, task: Mapping[str, Any], place: Lines) -> None:
    """Write and judge the answer to every record that has no line yet.

    Raises:
        DataError: there is nothing to judge, or nobody agreed that text leaves this machine.
        MachineError: the key is not set or refused, or the endpoint does not answer; says what to do.
        StageError: the model has too few positions, or predicts what is no number.
    """
    records = run.records(task["split"], task["records"], task["asks"])
    missing = [record for record in records if record["id"] not in place]
    if missing:
        with asking(run, task, f"{len(missing)} {task['split']} records") as graded:
            for line in graded(answers(run, missing, options_of(task), task["batch"])):
                place.add(line)
                run.progress(len(place), len(records), f"{task['split']} answers judged")
    place.finish([record["id"] for record in records])


# ------------------------------------------------------------------------------------------ endpoint


@contextmanager
def asking(
    run: Judging, grading: Mapping[str, Any], texts: str
) -> Iterator[Callable[[Written], Iterator[Line]]]:
    """Knock at a judge, and yield a function of written answers: their lines as they are graded.

    Args:
        run: where a note is left that text leaves this machine.
        grading: who grades and how: the keys of `Grader`, and `rubric`.
        texts: whose answers these are, for the note.

    Raises:
        DataError: nobody agreed that text leaves this machine.
        MachineError: the key is not set or refused, or the endpoint does not answer; says what to do.
    """
    with ExitStack() as stack:
        client = _client(grading, stack)
        _tell(run, grading, texts)
        cache = ReplyCache(Path(grading["cache"] or CACHE))
        judge = Judge(client, rubric(grading["rubric"]), cache, grading["endpoint"])
        yield lambda written: graded_lines(written, judge, grading["concurrency"])


def _client(task: Mapping[str, Any], stack: ExitStack) -> JudgeClient:
    """Return a client of an endpoint that answered a knock.

    Raises:
        DataError: it is on another machine and the spec does not allow that.
        MachineError: no key, or no endpoint.
    """
    endpoint = endpoint_of(task, os.environ)
    if task["endpoint"] == STAND_IN:
        endpoint = replace(endpoint, url=stack.enter_context(stand_in()))
    elif not is_this_machine(endpoint.url) and not task["allow_text_to_leave"]:
        raise DataError(
            f"judging would send answers and references to {endpoint.url}, and the spec does not allow it\n"
            "  set allow_text_to_leave: true where the records' owners agree, or name an endpoint on this machine"
        )
    try:
        client = stack.enter_context(JudgeClient(endpoint))
        client.knock()
    except EndpointError as error:
        raise MachineError(_advice(task, error)) from error
    return client


def endpoint_of(task: Mapping[str, Any], environ: Mapping[str, str]) -> Endpoint:
    """Return the endpoint with its key, which is nowhere but in the environment.

    Raises:
        MachineError: the variable that should hold the key is not set.
    """
    name = task["key_variable"]
    key = environ.get(name, "").strip() if name else None
    if name and not key:
        raise MachineError(
            f"the environment variable {name} is not set: it must hold the key of the judge at {task['endpoint']}\n"
            f"  set {name} in the shell that launches the run; the key is never written into a file"
        )
    return Endpoint(
        url=task["endpoint"],
        model=task["model"],
        key=key,
        temperature=task["judge_temperature"],
        max_reply_tokens=task["max_reply_tokens"],
        reply_format=task["reply_format"],
        timeout_s=task["timeout_s"],
        retries=task["retries"],
    )


def _advice(task: Mapping[str, Any], error: EndpointError) -> str:
    name = task["key_variable"]
    key = f"the key in {name}" if name else "key_variable, where the server wants a key"
    return f"the judge cannot be asked: {error}\n  check evaluate's endpoint, its model, and {key}"


def _tell(run: Judging, task: Mapping[str, Any], texts: str) -> None:
    if task["endpoint"] != STAND_IN and not is_this_machine(task["endpoint"]):
        run.events.write(
            "note",
            text=f"text leaves this machine: answers and references of {texts} are sent to {task['endpoint']}",
        )


# ------------------------------------------------------------------------------------------- judging


class Judge:
    """Asks for one answer's grades: the cache first, then the endpoint.

    Args:
        client: of the endpoint.
        asked: the rubric.
        cache: where good answers are kept.
        where: the endpoint as the spec names it, for a model's name means something only there.
    """

    def __init__(self, client: JudgeClient, asked: Rubric, cache: ReplyCache, where: str) -> None:
        self._client, self._rubric, self._cache, self._where = client, asked, cache, where

    def __call__(self, reference: str, answer: str) -> Line:
        """Return the judge's part of a line.

        Raises:
            EndpointError: the endpoint cannot be used at all.
            MachineError: the cache cannot be written.
        """
        messages = self._rubric.messages(reference, answer)
        key = self._key(messages)
        cached = self._cached(key)
        if cached is not None:
            return _part(cached, key, cached=True)
        verdict = self._client.ask(messages, self._rubric.schema, self._rubric.read)
        if verdict.outcome == JUDGED and verdict.reply is not None:
            try:
                self._cache.store(key, verdict.reply, verdict.model)
            except OSError as error:
                raise MachineError(f"cannot write {self._cache.root}: {error.strerror or error}") from error
        return _part(verdict, key, cached=False)

    def _key(self, messages: Sequence[Mapping[str, str]]) -> str:
        endpoint = self._client.endpoint
        return request_key(
            endpoint=self._where,
            messages=list(messages),
            rubric=self._rubric.prompt_sha256,
            model=endpoint.model,
            temperature=endpoint.temperature,
            max_reply_tokens=endpoint.max_reply_tokens,
            reply_format=endpoint.reply_format,
        )

    def _cached(self, key: str) -> Verdict | None:
        found = self._cache.fetch(key)
        if found is None:
            return None
        try:
            self._rubric.read(found["reply"])
        except BadReplyError:
            return None
        return Verdict(JUDGED, found["reply"], None, 0, found["model"])


def _part(verdict: Verdict, key: str, *, cached: bool) -> Line:
    reply = verdict.reply
    if verdict.outcome != JUDGED and reply is not None:
        reply = reply[:KEPT_REPLY]
    return {
        "outcome": verdict.outcome,
        "reply": reply,
        "error": verdict.error,
        "attempts": verdict.attempts,
        "cached": cached,
        "judge_model": verdict.model,
        "request_sha256": key,
    }


def graded_lines(written: Written, ask: Asking, concurrency: int) -> Iterator[Line]:
    """Yield a line for each answer as it is graded; those that the endpoint alone is to blame for at the end.

    Args:
        written: records with their answer's part of the line, made one after another while others are graded.
        ask: grades one answer; called from `concurrency` threads.
        concurrency: questions on their way at a time.

    Raises:
        MachineError: the endpoint cannot be used, or failed `IN_A_ROW` records one after another.
    """
    held: list[Line] = []
    in_a_row = 0
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="judge")
    try:
        for line in _as_graded(written, ask, pool, WAITING_PER_THREAD * concurrency):
            blamed = line["outcome"] in OF_THE_ENDPOINT
            in_a_row = in_a_row + 1 if blamed else 0
            if in_a_row == IN_A_ROW:
                raise MachineError(_gave_up(line))
            if blamed:
                held.append(line)
            else:
                yield line
    except EndpointError as error:
        raise MachineError(f"the judge cannot be asked any longer: {error}\n  {_CONTINUE}") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    yield from held


def _as_graded(written: Written, ask: Asking, pool: ThreadPoolExecutor, most: int) -> Iterator[Line]:
    waiting: dict[Future[Line], Line] = {}
    for record, part in written:
        line = {"id": record["id"], "group": record["group"], **part}
        waiting[pool.submit(ask, line["reference"], line["answer"])] = line
        yield from _done(waiting, leave=most)
    yield from _done(waiting, leave=0)


def _done(waiting: dict[Future[Line], Line], leave: int) -> Iterator[Line]:
    """Yield what has been graded, and wait until at most `leave` are on their way."""
    while waiting:
        timeout = 0 if len(waiting) <= leave else None
        done, _ = wait(waiting, timeout=timeout, return_when=FIRST_COMPLETED)
        if not done:
            return
        for future in sorted(done, key=lambda one: waiting[one]["id"]):
            yield {**waiting.pop(future), **future.result()}


_CONTINUE = "what was judged is kept: mend it and go on with `runner launch --resume RUN`"


def _gave_up(line: Line) -> str:
    return (
        f"the judge failed {IN_A_ROW} records in a row, the last with {line['outcome']} after {line['attempts']} "
        f"attempts: {line['error']}\n  {_CONTINUE}"
    )
