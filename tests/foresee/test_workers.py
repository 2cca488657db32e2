"""Work in several processes: in order, no more than asked for, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import closing

import pytest

from foresee.errors import UsageError
from foresee.workers import WorkerError, map_in_processes

_offset = 0


def _start(offset: int) -> None:
    global _offset
    _offset = offset


def _add(number: int) -> int:
    time.sleep(0.02 * (number % 3))  # later tasks are done before earlier ones
    return number + _offset


def _surroundings(_: int) -> tuple[bool, str | None]:
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return blocked, os.environ.get("OPENBLAS_NUM_THREADS")


def _die_at_three(number: int) -> int:
    if number == 3:
        os._exit(1)
    return number


def _fail(_: int) -> None:
    raise OSError("no such device")


def test_results_come_in_the_order_of_the_tasks() -> None:
    assert list(map_in_processes(_add, range(20), 2, _start, (100,))) == list(range(100, 120))


def test_ctrl_c_and_threads_are_settled_before_a_worker_begins() -> None:
    before = dict(os.environ)
    assert next(map_in_processes(_surroundings, [0], 1, _start, (0,))) == (True, "1")
    assert dict(os.environ) == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_closing_ends_the_processes_without_waiting_for_the_rest() -> None:
    others = set(multiprocessing.active_children())
    with closing(map_in_processes(time.sleep, [0.0, *[60.0] * 50], 2, _start, (0,))) as results:
        next(results)
        assert len(set(multiprocessing.active_children()) - others) == 2
        began = time.monotonic()
    assert time.monotonic() - began < 20
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.parametrize("start", [_start, _fail])
def test_a_worker_that_dies_is_told_and_not_waited_for(start: object) -> None:
    work = _die_at_three if start is _start else _add
    with pytest.raises(WorkerError, match="a worker process died"):
        list(map_in_processes(work, range(10), 2, start, (0,)))  # type: ignore[arg-type]


def test_a_negative_number_of_workers_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="--workers must be 0"):
        map_in_processes(_add, range(3), -1, _start, (0,))
