"""Steps of a benchmark that are foresee's own commands: each in a process of its own, run once.

What a step came to is kept beside what it made, so that a benchmark that was interrupted goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foresee.summary import write_json

ROOT = Path(__file__).parents[1]
CHECKPOINT = "checkpoint.pt"


_RUNNING: set[int] = set()


def interrupt() -> None:
    """Ctrl-C for every command that runs: it keeps what it has and ends."""
    for pid in list(_RUNNING):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)


class StepError(RuntimeError):
    """A command failed or was interrupted, or a result that is there is of another command."""


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: of the step; its figures are kept in ``folder/<name>.json``.
        folder: where figures, summary and log go.
        words: for `foresee`, with absolute paths: it runs in the repository's folder.
        makes: what it makes; what an interrupted one left of it is removed before it runs again,
            unless it holds the checkpoint of a training, which goes on.
        quiet: what it prints goes to ``folder/<name>.log``, and not to the terminal.
    """

    name: str
    folder: Path
    words: Sequence[str]
    makes: Path | None = None
    quiet: bool = False

    @property
    def command(self) -> str:
        """As a person would type it."""
        return f"foresee {' '.join(self.words)}"

    def kept(self) -> dict[str, Any] | None:
        """What it came to when it was run before.

        Raises:
            StepError: that was another command.
        """
        path = self.folder / f"{self.name}.json"
        if not path.is_file():
            return None
        result: dict[str, Any] = json.loads(path.read_text())
        if result["command"] != self.command:
            raise StepError(
                f"{path}: made by another command (`{result['command']}`), and `{self.command}` is "
                "asked for; choose another --out, or remove the folder to make it anew"
            )
        return result

    def run(self) -> dict[str, Any]:
        """Run it and measure it; or read what it came to when it was run before.

        Returns:
            ``command``, ``wall_s`` and ``cpu_s`` (with those of interrupted runs before it),
            ``peak_mb``, ``summary`` (what the command's --json says).

        Raises:
            StepError: see there.
        """
        if (result := self.kept()) is not None:
            return result
        self.folder.mkdir(parents=True, exist_ok=True)
        words = list(self.words)
        if self.makes is not None and self.makes.exists():
            if (self.makes / CHECKPOINT).is_file():
                words.append("--resume")
            else:
                shutil.rmtree(self.makes)
        summary, log = self.folder / f"{self.name}.summary.json", self.folder / f"{self.name}.log"
        spent = self.folder / f"{self.name}.spent.json"
        before = json.loads(spent.read_text()) if spent.is_file() else {"wall_s": 0.0, "cpu_s": 0.0}
        began = time.monotonic()
        command = [sys.executable, "-m", "foresee", *words, "--json", str(summary)]
        with log.open("a") if self.quiet else open(os.devnull, "w") as file:
            out = {"stdout": file, "stderr": file} if self.quiet else {}
            # In a session of its own: a Ctrl-C comes once, from `interrupt`; after a second one a
            # training ends without its checkpoint.
            process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **out)
            _RUNNING.add(process.pid)
            try:
                _, status, used = os.wait4(process.pid, 0)
            except KeyboardInterrupt:
                interrupt()
                _, status, used = os.wait4(process.pid, 0)
            _RUNNING.discard(process.pid)
        process.returncode = os.waitstatus_to_exitcode(status)
        times = {
            "wall_s": round(before["wall_s"] + time.monotonic() - began, 1),
            "cpu_s": round(before["cpu_s"] + used.ru_utime + used.ru_stime, 1),
        }
        write_json(spent, times)
        if process.returncode:
            hint = f"; see {log}" if self.quiet else ""
            raise StepError(f"{self.name}: foresee ended with {process.returncode}{hint}")
        result = {
            "command": self.command,
            **times,
            "peak_mb": round(used.ru_maxrss / 1e3, 1),
            "summary": json.loads(summary.read_text()),
        }
        write_json(self.folder / f"{self.name}.json", result)
        return result
