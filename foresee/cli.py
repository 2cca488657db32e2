"""The `foresee` command: reads the options, runs one sub-command, tells errors in one line."""

from __future__ import annotations

import errno
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from foresee.commands import COMMANDS, Command
from foresee.errors import fail, is_told

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


def write_json(path: Path, summary: dict[str, Any]) -> None:
    """Write a summary as strict JSON; what is not finite becomes null."""
    path.write_text(json.dumps(_finite(summary), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, np.generic):
        return _finite(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


if __name__ == "__main__":
    sys.exit(main())
