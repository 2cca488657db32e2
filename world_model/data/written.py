"""What of a data set is on disk and counts: kept while writing, read back to go on writing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from world_model.data import layout
from world_model.data.spec import DatasetError, DatasetSpec
from world_model.data.stats import RunningStats


@dataclass(frozen=True)
class Written:
    """What is on disk and counted; replaced as one when files are complete.

    Attributes:
        files: number of video and table files.
        episodes: episodes in them.
        frames: frames in them.
        hashes: relative file name to SHA-256.
        stats: column to its statistics.
        tasks: task to its number.
    """

    files: int = 0
    episodes: int = 0
    frames: int = 0
    hashes: Mapping[str, str] = field(default_factory=dict)
    stats: Mapping[str, RunningStats] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)

    def sums(self) -> dict[str, Any]:
        """Return the statistics such that `read_written` has them back to the last bit."""
        return {key: stats.to_sums() for key, stats in self.stats.items()}


def read_written(path: Path, spec: DatasetSpec, origin: Mapping[str, Any] | None) -> Written:
    """Read what a writer that was interrupted had finished.

    Args:
        path: folder of the data set.
        spec: what it must hold.
        origin: where it must come from, as the writer was told.

    Raises:
        DatasetError: it was not written by us, or is of another specification or origin.
    """
    name = path / layout.INFO
    try:
        info = json.loads(name.read_text(encoding="utf-8"))
        extra = info["foresee"]
        found, sums = DatasetSpec.from_info(extra), extra["sums"]
        if found != spec or extra.get("origin") != json.loads(json.dumps(origin)):
            what = "another source or mapping" if found == spec else "another specification"
            raise DatasetError(
                f"{path}: was begun with {what}; give the same command as then, or a new folder"
            )
        tasks = {}
        if info["total_tasks"]:
            table = pq.read_table(path / layout.TASKS)
            tasks = dict(
                zip(table["task"].to_pylist(), table["task_index"].to_pylist(), strict=True)
            )
        return Written(
            files=len({n for n in extra["sha256"] if n.startswith("data/")}),
            episodes=info["total_episodes"],
            frames=info["total_frames"],
            hashes=extra["sha256"],
            stats={key: RunningStats.from_sums(values) for key, values in sums.items()},
            # A write that was never finished may have added tasks; their numbers come last.
            tasks={t: i for t, i in tasks.items() if i < info["total_tasks"]},
        )
    except DatasetError:
        raise
    except FileNotFoundError:
        raise DatasetError(f"{path}: holds no data set to go on with") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DatasetError(f"{name}: cannot be gone on with ({error!r})") from error
