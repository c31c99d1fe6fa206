"""One function on many tasks in several processes: results as they come, and nobody left behind.

Processes are forked (Linux), so that what they work with is not sent to them. Elsewhere the work is done in this
process. A worker looks after each task whether its parent is still alive, for a parent that was killed cannot tell.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from runner.spec.problems import DataError, MachineError

Result = TypeVar("Result")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of settings in glibc's malloc.h."""
KEPT_BYTES = 512 * 2**20


def cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes_for(workers: int, tasks: int, least: int = 4) -> int:
    """Return how many processes are worth starting: `workers`, 0 for one per core, each with some tasks.

    >>> processes_for(8, tasks=9), processes_for(2, tasks=1000)
    (2, 2)
    """
    return max(1, min(workers or cores(), tasks // least))


def spread(
    work: Callable[[int], Result], tasks: Sequence[int], processes: int
) -> Iterator[tuple[int, Result]]:
    """Yield each task with `work(task)`, in the order in which they are done.

    Args:
        work: needs no more than its task; its result must be picklable.
        tasks: numbers; a process takes every n-th of them.
        processes: 1: here and now, in order.

    Raises:
        DataError: one that `work` raised, its message kept.
        RuntimeError: any other error of `work`, with its traceback.
        MachineError: a process was killed.
    """
    count = min(processes, len(tasks)) if sys.platform == "linux" else 1
    if count <= 1:
        with threadpool_limits(1):
            for task in tasks:
                yield task, work(task)
        return
    context = multiprocessing.get_context("fork")
    workers = []
    open_ends: dict[Connection, Any] = {}
    try:
        for number in range(count):
            receive, send = context.Pipe(duplex=False)
            worker = context.Process(
                target=_serve, args=(work, tasks[number::count], send, os.getpid()), daemon=True
            )
            worker.start()
            workers.append(worker)
            send.close()  # so that the end of the worker is the end of the pipe
            open_ends[receive] = worker
        yield from _received(open_ends)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
        for receive in open_ends:
            receive.close()


def _received(open_ends: dict[Connection, Any]) -> Iterator[tuple[int, Any]]:
    waiting = list(open_ends)
    while waiting:
        for receive in wait(waiting):
            assert isinstance(receive, Connection)
            try:
                kind, task, value = receive.recv()
            except EOFError:
                open_ends[receive].join()
                raise MachineError(
                    f"a process of the conversion was killed (exit code {open_ends[receive].exitcode})\n"
                    "  often for lack of memory: use fewer processes, then start again; what is done is kept"
                ) from None
            if kind == "done":
                waiting.remove(receive)
            elif kind == "data":
                raise DataError(value)
            elif kind == "error":
                raise RuntimeError(f"in a process of the conversion:\n{value}")
            else:
                yield task, value


def _serve(work: Callable[[int], Any], tasks: Sequence[int], send: Connection, parent: int) -> None:
    _keep_memory()
    with threadpool_limits(1):
        task = -1
        try:
            for task in tasks:
                send.send(("result", task, work(task)))
                if os.getppid() != parent:
                    return
            send.send(("done", -1, None))
        except DataError as error:
            send.send(("data", task, str(error)))
        except BrokenPipeError:
            return
        except Exception:  # whatever it is, the parent raises it; a worker that is silent would be waited for
            send.send(("error", task, traceback.format_exc()))


def _keep_memory() -> None:
    """Let this process keep what it frees: the next batch needs arrays of the same sizes.

    Returned to the system and taken again, each page costs a fault; that was a fifth of the conversion's time. A
    C library without these settings (not glibc) does as it likes.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        for setting in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            adjust(setting, KEPT_BYTES)
