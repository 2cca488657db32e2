"""Import recordings as a data set: LeRobotDataset v3, whatever they were.

Two passes over each recording: the first reads stamps alone and plans the episodes, the second
makes one episode after the other. Memory holds 16 bytes a message of one recording, one episode,
and the episodes of a file that is not yet written. What is in the data set is a function of the
source and the mapping, so an import that was killed goes on without a wrong frame.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from world_model.data import layout
from world_model.data.build import build_episode
from world_model.data.mapping import Mapping as ImportMapping
from world_model.data.plan import EVERY_IMAGE, Account, Plan, plan_recording
from world_model.data.recover import recover
from world_model.data.sources.bag import BagRecording, find_bags
from world_model.data.sources.folder import find_folders
from world_model.data.sources.lerobot import LeRobotSource
from world_model.data.spec import DatasetError
from world_model.data.stats import RunningStats
from world_model.data.streams import Recording
from world_model.data.units import doubt
from world_model.data.writer import DatasetWriter

# A step of one image more or less is told of where it is so large a share of a step,
_UNEVEN = 0.2
# and where the rates are no multiple of each other by more than this, in images.
_OFF = 0.05


@dataclass
class ImportReport:
    """What an import made and what it left out.

    Attributes:
        out: the data set.
        recordings: recordings that gave episodes.
        episodes: episodes in the data set.
        frames: frames in it.
        cameras: camera to what became of its images.
        ended: why episodes ended, to how often.
        short_frames: frames left out with episodes that are too short.
        skipped: what was left out because it is damaged, one line each.
        warnings: what looks wrong, one line each.
    """

    out: str
    recordings: int = 0
    episodes: int = 0
    frames: int = 0
    cameras: dict[str, Account] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    short_frames: int = 0
    skipped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def enter(self, plan: Plan) -> None:
        """Add the plan of one recording."""
        self.recordings += 1
        self.ended = dict(Counter(self.ended) + plan.ended)
        self.short_frames += plan.short_frames
        for camera, new in plan.cameras.items():
            old = self.cameras.setdefault(camera, Account())
            for name in ("received", "dropped", "used", "repeated"):
                setattr(old, name, getattr(old, name) + getattr(new, name))
            old.rate_hz = new.rate_hz
            old.oldest_ms = max(old.oldest_ms, new.oldest_ms)


def open_source(
    source: Path, mapping: ImportMapping | None, size: tuple[int, int] | None, progress: bool
) -> tuple[list[Recording], ImportMapping]:
    """Find out what a path holds.

    Args:
        source: bag, folder of bags, LeRobotDataset, or folder of videos and images. Bags that a
            killed recorder left are made whole.
        mapping: what to take; only a LeRobotDataset needs none.
        size: height and width of the cameras of a LeRobotDataset without mapping.
        progress: show progress bars.

    Returns:
        Its recordings in order, and the mapping.

    Raises:
        DatasetError: there is nothing to import, or the mapping is missing.
    """
    if not source.exists():
        raise DatasetError(f"{source}: no such file or folder")
    if (source / layout.INFO).is_file():
        lerobot = LeRobotSource(source)
        mapping = mapping or lerobot.mapping(size)
        return [*lerobot.recordings(mapping)], mapping
    if mapping is None:
        raise DatasetError(
            f"{source}: say with --config what is a camera, a reading, an action; copy "
            "config/import.yaml and adapt it (only a LeRobotDataset, which has a meta/info.json, "
            "says so itself)"
        )
    if bags := find_bags(source):
        for bag in bags:
            with suppress(DatasetError):  # told of when it is read
                recover(bag)
        return [BagRecording(bag, mapping, progress) for bag in bags], mapping
    if source.is_file():
        raise DatasetError(f"{source}: not a bag (.mcap or .db3) and not a folder")
    return [*find_folders(source, mapping)], mapping


def import_dataset(
    source: str | Path,
    out: str | Path,
    mapping: ImportMapping | None = None,
    *,
    size: tuple[int, int] | None = None,
    resume: bool = False,
    skip_bad: bool = False,
    progress: bool = True,
) -> ImportReport:
    """Import recordings into a new data set.

    Args:
        source: bag, folder of bags, LeRobotDataset, or folder of videos and images.
        out: new folder; with ``resume`` one that was begun.
        mapping: what to take; None for all of a LeRobotDataset.
        size: height and width of the cameras where there is no mapping.
        resume: keep what an interrupted import with the same arguments had written.
        skip_bad: leave out recordings and episodes that are damaged, and say so.
        progress: show progress bars.

    Raises:
        DatasetError: source or mapping cannot be used, or something is damaged; one line.
    """
    source, out = Path(source), Path(out)
    recordings, mapping = open_source(source, mapping, size, progress)
    origin = {
        "source": source.name,
        "sha256_of_names_and_sizes": _fingerprint(source),
        "mapping": dataclasses.asdict(mapping),
        "skip_bad": skip_bad,
    }
    report = ImportReport(str(out))
    with (
        _nothing_left_of_nothing(out),
        DatasetWriter(out, mapping.spec(), origin=origin, resume=resume) as writer,
    ):
        run = _Run(mapping, writer, report, skip_bad, progress)
        count = len(recordings)
        while recordings:  # what one kept of its bag goes with it
            run.take(recordings.pop(0), count)
        if not writer.episodes:
            raise DatasetError(f"{source}: gave no episode; {_why(report, mapping)}")
        writer.flush()
        report.episodes, report.frames = writer.episodes, writer.frames
        report.warnings = warnings_of(mapping, writer.stats) + _uneven(mapping, report.cameras)
    layout.write_json(out / layout.REPORT, dataclasses.asdict(report))
    return report


@contextmanager
def _nothing_left_of_nothing(out: Path) -> Iterator[None]:
    """Remove what an error leaves when there is no episode: the command can then be repeated."""
    is_new = not out.is_dir() or not any(out.iterdir())
    try:
        yield
    except BaseException:
        info = out / layout.INFO
        if is_new and info.is_file() and json.loads(info.read_text())["total_episodes"] == 0:
            shutil.rmtree(out)
        raise


class _Run:
    """One import under way."""

    def __init__(
        self,
        mapping: ImportMapping,
        writer: DatasetWriter,
        report: ImportReport,
        skip_bad: bool,
        progress: bool,
    ) -> None:
        self._mapping, self._writer, self._report = mapping, writer, report
        self._skip_bad, self._progress = skip_bad, progress
        self._kept = writer.episodes  # from before; nothing of them is made again
        self._taken = self._planned = 0
        self._bad_file = writer.path / layout.SKIPPED
        self._bad: dict[str, str] = {}
        if self._kept and self._bad_file.is_file():
            self._bad = json.loads(self._bad_file.read_text(encoding="utf-8"))

    def take(self, recording: Recording, count: int) -> None:
        """Plan one of ``count`` recordings and write the episodes that are not there yet."""
        self._taken += 1
        # Not by its name: that is the path as it was given, and may be given otherwise to go on.
        key = f"recording {self._taken}"
        if key in self._bad:
            self._report.skipped.append(self._bad[key])
            return
        try:
            streams = recording.index()
            plan = plan_recording(self._mapping, streams, recording.markers(), recording.name)
        except DatasetError as error:
            self._leave_out(key, error)
            return
        self._report.enter(plan)
        bar = tqdm(
            total=sum(len(planned) for planned in plan.episodes),
            desc=f"import {self._taken}/{count}",
            unit=" frames",
            disable=not self._progress,
        )
        with bar:
            for planned in plan.episodes:
                self._planned += 1
                key = f"episode {self._planned}"
                if key in self._bad:
                    self._report.skipped.append(self._bad[key])
                elif self._kept:
                    self._kept -= 1
                else:
                    try:
                        episode = build_episode(self._mapping, recording, streams, planned)
                    except DatasetError as error:
                        self._leave_out(key, error)
                    else:
                        self._writer.add(episode)
                bar.update(len(planned))

    def _leave_out(self, key: str, error: DatasetError) -> None:
        """Note what is damaged, before anything after it is written; or give up."""
        if not self._skip_bad:
            raise error
        self._bad[key] = str(error)
        layout.write_json(self._bad_file, self._bad)
        self._report.skipped.append(str(error))
        if self._progress:
            tqdm.write(f"left out: {error}")


def warnings_of(mapping: ImportMapping, stats: Mapping[str, RunningStats]) -> list[str]:
    """What looks wrong with the numbers: units, and actions beyond their limits.

    Args:
        mapping: declares units and limits.
        stats: column to statistics, of what was written.
    """
    lines = []
    for group, column in (
        ("proprio", layout.PROPRIO),
        ("actions", layout.ACTION),
        ("evaluation", layout.EVALUATION),
    ):
        signals = [s for key, s in mapping.signals().items() if key.startswith(f"{group}[")]
        named = [(name, signal) for signal in signals for name in signal.paths]
        for index, (name, signal) in enumerate(named):
            low, high = float(stats[column].low[index]), float(stats[column].high[index])
            if (line := doubt(name, signal.unit, low, high)) is not None:
                lines.append(line)
    spec = mapping.spec()
    for index, name in enumerate(spec.action_names):
        low, high = (float(getattr(stats[layout.ACTION], k)[index]) for k in ("low", "high"))
        allowed_low, allowed_high = spec.action_low[index], spec.action_high[index]
        slack = 1e-5 * max(abs(allowed_low), abs(allowed_high))
        if low < allowed_low - slack or high > allowed_high + slack:
            lines.append(
                f"{name} runs from {low:.4g} to {high:.4g}, beyond its limits {allowed_low:.4g} to "
                f"{allowed_high:.4g}; planning will stay within the limits"
            )
    return lines


def _uneven(mapping: ImportMapping, cameras: Mapping[str, Account]) -> list[str]:
    """Whether steps are of different lengths, because the camera's rate is no multiple of ours."""
    first = next(iter(mapping.cameras))
    images = cameras[first].rate_hz / mapping.rate_hz
    fewer, more = math.floor(images), math.ceil(images)
    off = abs(images - round(images))
    if mapping.episodes.every_image or images < EVERY_IMAGE or off < _OFF or _UNEVEN * images > 1:
        return []
    rate_hz = cameras[first].rate_hz
    shorter_ms, longer_ms = 1e3 * fewer / rate_hz, 1e3 * more / rate_hz
    return [
        f"{first} has {rate_hz:.3g} images/s, rate_hz is {mapping.rate_hz:g}: steps are of {fewer} "
        f"and of {more} images, {shorter_ms:.0f} and {longer_ms:.0f} ms; with rate_hz "
        f"{rate_hz / more:.3g} or {rate_hz / fewer:.3g} they are even"
    ]


def _why(report: ImportReport, mapping: ImportMapping) -> str:
    """Why there is no episode, for an error."""
    if report.skipped:
        return f"all is damaged: {report.skipped[0]}"
    ended = ", ".join(f"{reason} {count} times" for reason, count in report.ended.items())
    return (
        f"{report.short_frames} frames are in episodes shorter than min_s "
        f"({mapping.episodes.min_s:g} s), which ended by: {ended or 'nothing'}"
    )


def _fingerprint(source: Path) -> str:
    """A hash of file names and sizes: whether it is still the same source."""
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    rows = [
        f"{p.relative_to(source).as_posix()} {p.stat().st_size}\n"
        for p in files
        if not any(part.startswith(".") for part in p.relative_to(source).parts)
        and p.suffix != ".unfinished"  # may be removed when the bag that was made of it is good
    ]
    return hashlib.sha256("".join(rows).encode()).hexdigest()
