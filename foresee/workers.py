"""The same work on many tasks in several processes, results in the order of the tasks."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from foresee.errors import UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

# Tasks given out for each process: enough to keep it busy, few enough to hold their results.
_AHEAD = 4
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerError(RuntimeError):
    """A worker process died."""


def map_in_processes(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    start: Callable[..., None],
    arguments: tuple[Any, ...],
) -> Generator[Result, None, None]:
    """Results of ``work`` on each task, in order; close the generator to end the processes early.

    No process starts before the first result is asked for, and at most a few tasks a process are
    ahead of the consumer. Ctrl-C reaches this process alone; each worker computes on one thread.

    Args:
        work: a function of a module.
        tasks: its arguments.
        workers: processes; 0 takes one for each core.
        start: called once in each process, with ``arguments``.
        arguments: of ``start``.

    Raises:
        UsageError: ``workers`` is negative.
        WorkerError: a process died, or ``start`` failed in it.
    """
    if workers < 0:
        raise UsageError(f"--workers must be 0 (one for each core) or more, got {workers}")
    count = max(1, min(workers or os.cpu_count() or 1, len(tasks)))
    return _results(work, tasks, count, start, arguments)


def _results(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    count: int,
    start: Callable[..., None],
    arguments: tuple[Any, ...],
) -> Generator[Result, None, None]:
    others = set(multiprocessing.active_children())
    # "spawn", because a forked PyBullet or ONNX Runtime shares locks with its parent.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(count, context, start, arguments)
    waiting = iter(tasks)
    pending: deque[Future[Result]] = deque()
    finished = False
    try:
        while True:
            with _for_children():
                for task in islice(waiting, _AHEAD * count - len(pending)):
                    pending.append(executor.submit(work, task))
            if not pending:
                break
            yield pending.popleft().result()
        finished = True
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process died; is there enough memory? try --workers 1"
        ) from error
    finally:
        if not finished:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        executor.shutdown(cancel_futures=True)


@contextmanager
def _for_children() -> Iterator[None]:
    """What processes started in here inherit: SIGINT blocked, one thread for numerical libraries.

    Both must be there before a process begins: Ctrl-C while it still imports would print a
    traceback, and the libraries read their variables when they are loaded.
    """
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
