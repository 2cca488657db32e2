"""How a node's process lives: start, say that it is ready, stop on a signal, leave nothing.

All nodes use the same few steps, because their order matters: a background executor thread that
still spins when the interpreter ends aborts the process, and DDS removes its shared memory only
when the context is shut down.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import os
import resource
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Protocol, cast

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.timer import Timer

from ros_nodes.transport import READY_FD, STDIN_IS_PARENT, own_transport

EXIT_BAD_INPUT = 2
COLLECT_EVERY_S = 10.0
_LAST_WORDS_S = 0.5  # for what was written last to be read


class ManagedNode(Protocol):
    """What `run_node` needs of a node besides being an rclpy one."""

    def start(self) -> None:
        """Start own threads; called on the main thread while the executor already spins.

        Raises:
            ValueError or OSError: it cannot work as configured; one line, exit 2.
        """
        ...

    def stop(self) -> None:
        """End own threads, leaving the robot safe; the executor still spins."""
        ...


class Spinner:
    """An executor on a thread of its own that can be stopped without a race.

    `Executor.shutdown` destroys what the spinning thread still waits on, so the thread is ended
    first, and `failure` holds what a callback raised, if one did.
    """

    def __init__(self, executor: Executor) -> None:
        """Take over an executor that already holds its nodes."""
        self._executor = executor
        self._stop = threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._spin, name="executor", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            while not self._stop.is_set():
                self._executor.spin_once(timeout_sec=0.5)
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        """End the thread, then shut the executor down."""
        self._stop.set()
        self._executor.wake()
        self._thread.join()
        self._executor.shutdown()


@contextlib.contextmanager
def _stop_signals(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on SIGINT and SIGTERM, and when a starter that gave its pipe has died.

    Afterwards both are ignored: a second one must not cut the end of the interpreter short.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if os.environ.get(STDIN_IS_PARENT):

        def wait_for_parent() -> None:
            while os.read(sys.stdin.fileno(), 1):
                pass
            stop.set()
            time.sleep(10.0)
            os._exit(1)  # a node that cannot stop must not outlive its starter

        threading.Thread(target=wait_for_parent, name="parent", daemon=True).start()
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def steady_timer(node: Node, period_s: float, callback: Callable[[], None]) -> Timer:
    """A timer that a clock which is set back, or simulated time, does not silence."""
    return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))


def never_wait_for_output() -> None:
    """Lose what this process, and children of it, write from now on where nobody reads it.

    A terminal that is held (Ctrl-S) or a pager lets whoever writes wait, and log lines are written
    with the interpreter lock held: ticks and e-stop would wait with them. A file is left as it is.
    """
    drains: list[tuple[int, int, threading.Thread]] = []
    for descriptor in (1, 2):
        if _never_blocks(descriptor):
            continue
        kept = os.dup(descriptor)
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        os.dup2(write_end, descriptor)
        os.close(write_end)
        thread = threading.Thread(target=_drain, args=(read_end, kept), daemon=True)
        thread.start()
        drains.append((descriptor, kept, thread))

    def finish() -> None:
        for descriptor, kept, thread in drains:
            os.dup2(kept, descriptor)  # which ends the pipe, unless a child still has it
            thread.join(_LAST_WORDS_S)

    atexit.register(finish)


def _never_blocks(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) or status.st_rdev == os.stat(os.devnull).st_rdev


def _drain(read_end: int, kept: int) -> None:
    with contextlib.suppress(OSError):  # nobody is there any more
        while read := os.read(read_end, 1 << 16):
            while read:
                read = read[os.write(kept, read) :]


def use_realtime_priority(priority: int, children: bool = True) -> bool:
    """Put every thread of this process, and those it starts later, under SCHED_FIFO.

    All of them and not only the one in a hurry: whichever holds the interpreter lock holds that one
    up. Needs root, ``CAP_SYS_NICE`` or an ``rtprio`` limit, as ros2_control does. Where it is
    granted, and ``memlock`` is unlimited, the process keeps its pages in memory too: one that has
    to be read from the disk again waits for whoever is slower at it.

    Args:
        priority: 1 to 99; 0 leaves everything as it is.
        children: False for a process that starts others: they, and threads started later, are
            then ordinary ones.

    Returns:
        whether it was granted.
    """
    if priority == 0:
        return False
    policy = os.SCHED_FIFO if children else os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        for thread_id in os.listdir("/proc/self/task"):
            os.sched_setscheduler(int(thread_id), policy, os.sched_param(priority))
    except OSError:
        return False
    _lock_memory()
    return True


def _lock_memory() -> None:
    """Lock the pages that are used, now and later, where the memlock limit sets no bound.

    A bound that is met later would make the process fail. Pages that were only reserved, as most of
    a shared memory segment, are not taken for being locked.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
        return
    current, future, on_fault = 1, 2, 4  # MCL_*, bits/mman-linux.h
    ctypes.CDLL(None).mlockall(current | future | on_fault)


def _report(line: str) -> None:
    """Tell the starter, if there is one."""
    descriptor = os.environ.pop(READY_FD, None)
    if descriptor is not None:
        with contextlib.suppress(OSError), os.fdopen(int(descriptor), "w") as pipe:
            pipe.write(line + "\n")


def run_node(
    name: str,
    make_node: Callable[[], Node],
    args: list[str] | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Run one node in this process until SIGINT or SIGTERM.

    Args:
        name: the node's, for messages before there is a node.
        make_node: builds the node, which also is a `ManagedNode`.
        args: ROS arguments; ``None`` for those of the command line.
        stop: is set when the node is to end, for one whose `start` takes long.

    Returns:
        exit status: 0 after a signal, 2 for a wrong parameter or file (one line on stderr), 1 for
        a failure while running.
    """
    stop = stop or threading.Event()
    with _stop_signals(stop):
        # Ours, not rclpy's: those shut the context down under the node, before it can brake.
        try:
            with own_transport(name):
                rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:  # rclpy's own errors: wrong arguments, unreadable YAML
            return _refuse(name, error)
        try:
            return _run(name, make_node, stop)
        finally:
            rclpy.try_shutdown()


def _refuse(name: str, error: Exception) -> int:
    """Report bad input as one line."""
    line = " ".join(str(error).split())
    _report(f"error: {line}")
    print(f"{name}: {line}", file=sys.stderr, flush=True)
    return EXIT_BAD_INPUT


def _run(name: str, make_node: Callable[[], Node], stop: threading.Event) -> int:
    node: Node | None = None
    spinner: Spinner | None = None
    started = False
    try:
        with own_transport(name):
            node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinner = Spinner(executor)
        cast(ManagedNode, node).start()
        started = True
        gc.freeze()  # what was loaded stays: later collections need not look through it
        node.get_logger().info("ready")
        _report("ready")
        collected_s = time.monotonic()
        while not stop.wait(0.2):
            if spinner.failure is not None:
                raise spinner.failure
            # Half a millisecond; else what the interpreter keeps for reuse, of tuples above all,
            # grows for hours: an agent's by 2 MB an hour.
            if time.monotonic() - collected_s > COLLECT_EVERY_S:
                gc.collect()
                collected_s = time.monotonic()
        return 0
    except (ValueError, OSError) as error:
        if not started:
            return _refuse(name, error)
        traceback.print_exc()
        return 1
    except Exception as error:
        _report(f"error: {type(error).__name__}: {error}")
        traceback.print_exc()
        return 1
    finally:
        if node is not None:
            cast(ManagedNode, node).stop()
        if spinner is not None:
            spinner.stop()
        if node is not None:
            node.destroy_node()
