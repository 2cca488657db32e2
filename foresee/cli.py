"""The `foresee` command: reads the options, runs one sub-command, tells errors in one line."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    if command.json is not None:
        write_json(command.json, summary)
    command.say(summary)
    if summary.get("finished") is False:
        return 130
    return 1 if summary.get("failed") else 0


def write_json(path: Path, summary: dict[str, Any]) -> None:
    """Write a summary as strict JSON; what is not finite becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(summary), indent=1, default=str) + "\n")


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


if __name__ == "__main__":
    sys.exit(main())
