"""The `foresee` command: reads the options, runs one sub-command, tells errors in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import itertools
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from foresee.commands import COMMANDS, GROUPS, Command
from foresee.errors import UsageError, fail, is_told, suggest
from foresee.summary import write_json

DESCRIPTION = """Learn a world model from a robot's camera and plan with it.

A first tour:

  foresee demo                                        see it work (ROS 2 nodes, shipped bundle)
  foresee collect --out data/reach                    record a simulated robot
  foresee train --data data/reach --out runs/reach    learn from it
  foresee export --checkpoint runs/reach --data data/reach --out bundles/reach
  foresee eval --bundle bundles/reach                 success rate beside its floors
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Returns:
        0 when it did its work, 1 when it ran and failed, 2 for an error the user can mend,
        130 after Ctrl-C.
    """
    if threading.current_thread() is threading.main_thread():
        # A service manager's stop is as clean as Ctrl-C: files are closed, nodes are ended.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        command = _parse(sys.argv[1:] if arguments is None else arguments)
        if command.json is not None:
            _reserve(command.json)
        summary = command.run()
    except KeyboardInterrupt:
        print("foresee: interrupted", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError) as error:
        if not is_told(error):
            raise
        return fail(str(error))
    except ModuleNotFoundError as error:
        return fail(f"{error}; in the checkout, install what is missing: pip install -e '.[all]'")
    except OSError as error:
        # Of a file the user named, or of a disk that is full; a fault of ours names no file.
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        return fail(f"{error.filename or 'disk'}: {error.strerror}")
    if command.json is not None:
        try:
            write_json(command.json, summary)
        except OSError as error:
            return fail(f"{command.json}: cannot write the summary ({error.strerror})")
    try:
        command.say(summary)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough, as in `foresee info X | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if summary.get("finished") is False:
        return 130
    return 1 if summary.get("failed") else 0


def _parse(arguments: Sequence[str]) -> Command:
    """The sub-command with its options; ends the program after ``--help``.

    Raises:
        UsageError: an option, a value or a sub-command that is not known, with a hint.
        TrainConfigError: a training option out of its limits.
    """
    prog, description, commands = "foresee", DESCRIPTION, COMMANDS
    if arguments and arguments[0] in GROUPS:
        group, *arguments = arguments
        prog, commands = f"foresee {group}", GROUPS[group]
        description = COMMANDS[group].__doc__ or ""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            command: Command = tyro.extras.subcommand_cli_from_dict(
                commands, prog=prog, description=description, args=arguments
            )
    except SystemExit as end:
        if not end.code:
            raise
        line = _one_line(complaint.getvalue(), arguments, prog, commands)
        raise UsageError(line) from None
    return command


def _one_line(
    complaint: str, arguments: Sequence[str], prog: str, commands: Mapping[str, Any]
) -> str:
    """What tyro says in a box, as a sentence with a hint."""
    rows = [row.strip("│╭╰╮╯ ") for row in complaint.splitlines()]
    body = itertools.dropwhile(_is_rule, [row for row in rows if row][1:])  # after the title
    said = " ".join(itertools.takewhile(lambda row: not _is_rule(row), body)) or complaint
    said = said.replace("__tyro-dummy-inner__.config.", "--").rstrip(".")
    name = arguments[0] if arguments else ""
    if name not in commands:
        hint = suggest(name, commands) or f" There are: {', '.join(commands)}."
        return f"{said}.{hint} `{prog} --help` explains them."
    known = [f"--{option.replace('_', '-')}" for option in _options(commands[name])]
    given = [word.split("=")[0].replace("_", "-") for word in arguments if word.startswith("--")]
    hint = next((suggest(word, known) for word in given if word not in known), "")
    return f"{said}.{hint} `{prog} {name} --help` explains every option."


def _is_rule(row: str) -> bool:
    """A line that only separates; of dashes where the terminal knows no better."""
    return not row.strip("─- ")


def _options(kind: Any, prefix: str = "") -> list[str]:  # noqa: ANN401 - a dataclass
    """Names of a command's options; those of the training settings have no prefix of their own."""
    names = []
    for field in dataclasses.fields(kind):
        nested = field.default_factory
        made = None if nested is dataclasses.MISSING else nested()
        if dataclasses.is_dataclass(made):
            inner = "" if field.name == "config" else f"{prefix}{field.name}."
            names += _options(type(made), inner)
        else:
            names.append(f"{prefix}{field.name}")
    return names


def _reserve(path: Path) -> None:
    """Make sure that the summary can be written, before the work that it sums up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    existed = path.exists()
    path.open("a").close()
    if not existed:
        path.unlink()  # what fails leaves no empty summary behind


if __name__ == "__main__":
    sys.exit(main())
