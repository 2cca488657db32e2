"""The sub-commands of `foresee data`: data sets in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from foresee.data_check_commands import CheckData, ShowData
from foresee.errors import UsageError


@dataclass
class ImportData:
    """Turn recordings into a data set: ROS 2 bags, LeRobot data sets, videos and images with CSV.

    SOURCE is an MCAP or SQLite bag, a folder of several, a LeRobotDataset (v3.0 or v2.1), or a
    folder of videos or images with CSV tables (docs/data.md shows how they must lie). --config says
    which topics are cameras, readings and actions, with units and limits: copy config/import.yaml,
    which explains every line. Only a LeRobotDataset needs none: all of it is taken.

    Everything is brought to one rate by capture time: the nearest image, interpolated readings,
    held commands. An episode ends wherever something is missing, and the report says what was:

      foresee data import bag --config config/import.yaml --out data/mine
      foresee data check data/mine
      foresee train --data data/mine --out runs/mine
    """

    source: Annotated[Path, tyro.conf.Positional]
    """Bag, folder of bags, LeRobotDataset, or folder of videos and images."""
    out: Path
    """New folder for the data set (LeRobotDataset v3)."""
    config: Path | None = None
    """YAML file of what becomes what (see config/import.yaml)."""
    size: tuple[int, int] | None = None
    """Without --config: height and width to resize every camera to, multiples of 16."""
    resume: bool = False
    """Go on with an import that was interrupted, even killed; give the other options as then."""
    skip_bad: bool = False
    """Leave out recordings and episodes that are damaged, instead of stopping at the first."""
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Import."""
        from world_model.data.importing import import_dataset
        from world_model.data.mapping import Mapping
        from world_model.data.settings import load_settings

        if self.config is not None and self.size is not None:
            raise UsageError("--size is for imports without --config; give sizes in the file")
        if self.size is not None and (min(self.size) < 16 or any(n % 16 for n in self.size)):
            height, width = self.size
            raise UsageError(f"--size {height} {width}: give multiples of 16, such as 64 64")
        mapping = load_settings(Mapping, self.config) if self.config else None
        report = import_dataset(
            self.source,
            self.out,
            mapping,
            size=self.size,
            resume=self.resume,
            skip_bad=self.skip_bad,
        )
        return dataclasses.asdict(report)

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        for name, camera in summary["cameras"].items():
            print(
                f"camera {name}: {camera['received']} images at {camera['rate_hz']:.4g}/s, "
                f"{camera['dropped']} dropped before they were recorded; {camera['used']} used, "
                f"{camera['repeated']} repeated, at most {camera['oldest_ms']:.0f} ms from their "
                "frame"
            )
        ended = ", ".join(f"{reason} ({count})" for reason, count in summary["ended"].items())
        print(f"episodes ended by: {ended}; {summary['short_frames']} frames in too short ones")
        for line in summary["skipped"]:
            print(f"LEFT OUT {line}")
        for line in summary["warnings"]:
            print(f"WARNING {line}")
        print(f"{summary['frames']} frames in {summary['episodes']} episodes: {summary['out']}")


@dataclass
class ExportData:
    """Write a data set, or a part of it, as a new LeRobotDataset v3 folder, or as ROS 2 bags.

    The lerobot library loads what this writes. Numbers and stamps are copied exactly; images are
    encoded anew (bags hold them uncompressed). Bags are one MCAP for each episode, for `ros2 bag
    play` and Foxglove, with an import.yaml that brings them back:

      foresee data export data/mine --out bags --format mcap --episodes 0-4
      foresee data import bags --config bags/import.yaml --out data/again
    """

    data: Annotated[Path, tyro.conf.Positional]
    """Data set folder."""
    out: Path
    """New folder."""
    episodes: str | None = None
    """Episodes to take, like 0-9,12; all by default."""
    cameras: tuple[str, ...] | None = None
    """Cameras to take; all by default."""
    format: Literal["lerobot", "mcap"] = "lerobot"
    """LeRobotDataset v3, or a bag for each episode."""
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Export."""
        from world_model.data.bag_export import export_bags
        from world_model.data.select import Selection, export_dataset, parse_indices

        episodes = None if self.episodes is None else parse_indices(self.episodes)
        export = export_bags if self.format == "mcap" else export_dataset
        written = export(self.data, self.out, Selection(episodes, self.cameras))
        return {"out": str(self.out), "episodes": written.episodes, "frames": written.frames}

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        print(f"{summary['frames']} frames in {summary['episodes']} episodes: {summary['out']}")


@dataclass
class RecordData:
    """Record camera streams as ROS 2 nodes do, to an MCAP bag, while a simulated robot explores.

    Starts sim_node, command_node, explore_node (which moves the tool all over the workspace) and
    recorder_node as processes, in real time. With a robot of your own, start recorder_node,
    explore_node and command_node beside its drivers (docs/data.md). What comes of it:

      foresee data record --cameras scene front --minutes 30 --out bags/sim
      foresee data import bags/sim --config config/import.yaml --out data/sim
    """

    out: Path
    """New folder for the bag, readable by `ros2 bag` and Foxglove."""
    env: str = "foresee/Reach-v0"
    """Simulated world."""
    minutes: float = 30.0
    """How long to record."""
    cameras: tuple[str, ...] = ("scene",)
    """Cameras of the world: scene, front."""
    image_size: int = 64
    """Side of the square images in pixels."""
    image_rate_hz: float = 10.0
    """Frames per second of each camera."""
    seed: int = 0
    """Seed of world and motion."""
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Record."""
        from foresee.record import RecordJob, record

        return record(
            RecordJob(
                self.out,
                self.env,
                self.minutes,
                self.cameras,
                self.image_size,
                self.image_rate_hz,
                self.seed,
            )
        )

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        if summary["failed"]:
            print(f"FAILED {summary['failure']}")
        print(f"{summary['seconds']:.0f} s recorded: {summary['out']}")


@dataclass
class Data:
    """Bring camera streams in and out: record, import, check, look at and export data sets."""


DATA_COMMANDS: dict[str, Callable[..., Any]] = {
    "record": RecordData,
    "import": ImportData,
    "check": CheckData,
    "show": ShowData,
    "export": ExportData,
}
