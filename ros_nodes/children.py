"""Nodes as child processes: started, heard when they are ready, ended without a trace.

The one place that starts processes, for `ros_nodes.graph` and for `supervisor_node`. Each child has
a session of its own, so that Ctrl-C reaches the starter alone and the nodes end in order; a pipe on
its stdin tells it when the starter has died, however it died. This module imports no rclpy.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ros_nodes.transport import READY_FD, STDIN_IS_PARENT

# What a node gets to end by itself on SIGINT, then on SIGTERM, before the next harder signal.
_PATIENCE = ((signal.SIGINT, 10.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ChildError(RuntimeError):
    """A node did not come up: one line that says why."""


@dataclass
class Child:
    """A started node. One thread at a time may use it.

    Attributes:
        name: module in `ros_nodes`, such as ``agent_node``.
        process: its process.
        log: where its output goes; None for that of the starter.
        report: the pipe on which it says that it is ready.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None
    report: IO[bytes]

    def take_report(self) -> None:
        """Read what it reports, waiting for it.

        Raises:
            ChildError: it has not come up.
        """
        line = self.report.readline().decode(errors="replace").strip()
        if line == "ready":
            return
        if line.startswith("error: "):
            raise ChildError(line.removeprefix("error: "))
        code = self.process.wait(timeout=10.0)
        raise ChildError(f"died on start ({how(code)}): {self.last_line()}")

    def reported(self, timeout_s: float) -> bool:
        """Whether there is a report to take, or its process has ended, within a time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.report, selectors.EVENT_READ)
            return bool(selector.select(timeout_s))

    def end(self) -> int:
        """End it, gently first; returns its exit status: 0 or, for a signal, negative."""
        for number, patience_s in _PATIENCE:
            if self.process.poll() is not None:
                break
            self.process.send_signal(number)
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        return self.collect()

    def collect(self) -> int:
        """Wait for its end and let go of its pipes; returns its exit status."""
        code = self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.report.close()
        return code

    def last_line(self) -> str:
        """The last line it wrote, which is where Python puts the error."""
        if self.log is None:
            return "see its output above"
        try:
            text = self.log.read_text(errors="replace")
        except OSError as error:
            return f"its log is gone ({error})"
        lines = [line for line in text.splitlines() if line.strip()]
        return f"{lines[-1].strip()} ({self.log})" if lines else f"it wrote nothing ({self.log})"


def start_child(
    name: str, ros_arguments: Sequence[str], environment: dict[str, str], log: Path | None = None
) -> Child:
    """Start a node.

    Args:
        name: module in `ros_nodes`.
        ros_arguments: what follows ``--ros-args``.
        environment: of the process, without the variables of this module.
        log: gets its output, after what is there already; None for the starter's own.
    """
    output = None if log is None else log.open("ab")
    read_end, write_end = os.pipe()
    variables = {
        **environment,
        **dict.fromkeys(_THREAD_VARIABLES, "1"),  # the model's threads are a parameter
        "PYTHONUNBUFFERED": "1",
        READY_FD: str(write_end),
        STDIN_IS_PARENT: "1",
    }
    try:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", f"ros_nodes.{name}", "--ros-args"),
                "--disable-external-lib-logs",  # the log file here is enough
                *ros_arguments,
            ],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            env=variables,
            pass_fds=(write_end,),
            start_new_session=True,
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
        if output is not None:
            output.close()
    return Child(name, process, log, os.fdopen(read_end, "rb"))


def how(code: int) -> str:
    """An exit status in words."""
    return f"exit status {code}" if code >= 0 else signal.Signals(-code).name
