"""The `foresee` command: reads the options, runs one sub-command, tells errors in one line."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from foresee.commands import COMMANDS, Command
from foresee.errors import fail, is_told
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
    command: Command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="foresee", description=DESCRIPTION, args=arguments
    )
    try:
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
        return fail(f"{error}; install the extra that has it: pip install 'foresee[all]'")
    except OSError as error:
        # Of a file the user named, or of a disk that is full; a fault of ours names no file.
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        return fail(f"{error.filename or 'disk'}: {error.strerror}")
    command.say(summary)
    if command.json is not None:
        try:
            write_json(command.json, summary)
        except OSError as error:
            return fail(f"{command.json}: cannot write the summary ({error.strerror})")
    if summary.get("finished") is False:
        return 130
    return 1 if summary.get("failed") else 0


def _reserve(path: Path) -> None:
    """Make sure that the summary can be written, before the work that it sums up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    existed = path.exists()
    path.open("a").close()
    if not existed:
        path.unlink()  # what fails leaves no empty summary behind


if __name__ == "__main__":
    sys.exit(main())
