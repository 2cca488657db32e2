"""Find out what of a damaged data set is intact, episode by episode."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from world_model.data import layout
from world_model.data.checksums import ROWS, frame_checksums, rows_checksum, video_column
from world_model.data.dataset import Dataset, Info, Rows, read_info
from world_model.data.episodes import (
    EpisodeInfo,
    check_hash,
    episode_files,
    read_episode_file,
)
from world_model.data.findings import LEAVE_OUT, RESTORE, Finding, merged, ranges
from world_model.data.spec import DatasetError
from world_model.data.video import decode_frames


class Visitor(Protocol):
    """Is shown everything that can be read."""

    def rows(self, info: EpisodeInfo, rows: Rows) -> None:
        """See the numbers of an episode."""

    def frame(self, info: EpisodeInfo, camera: str, index: int, frame: NDArray[np.uint8]) -> None:
        """See frame ``index`` of an episode; of each camera in order, from 0."""


@dataclass(frozen=True)
class Survey:
    """What is intact.

    Attributes:
        dataset: the data set without the episodes that are damaged.
        findings: what is damaged, errors all.
        frames_lost: frames of the episodes left out.
    """

    dataset: Dataset
    findings: tuple[Finding, ...]
    frames_lost: int

    def summary(self) -> str:
        """How much was left out, in one line."""
        lost, kept = len(self.dataset.left_out), len(self.dataset)
        return (
            f"{self.dataset.path}: left out {lost} of {lost + kept} episodes "
            f"({self.frames_lost} of {self.frames_lost + self.dataset.frames} frames)"
            + (f": {ranges(self.dataset.left_out)}" if lost else "")
        )


def survey(path: str | Path, visitor: Visitor | None = None, progress: bool = False) -> Survey:
    """Find the episodes that are damaged.

    A file whose hash is the one written is taken as it is. Of any other file every part is looked
    at: checksums of single frames and episodes where the set has them, else by reading it.

    Args:
        path: data set folder.
        visitor: is shown every episode; everything is then read and decoded.
        progress: show a progress bar.

    Raises:
        DatasetError: ``meta/info.json`` is unusable: without it nothing can be read.
    """
    path = Path(path)
    info = read_info(path)
    search = _Search(path, info, visitor)
    with tqdm(unit=" files", desc="check", disable=not progress) as bar:
        search.table()
        jobs = search.jobs()
        bar.reset(total=len(jobs))
        for job in jobs:
            search.look(*job)
            bar.update()
    return search.result()


class _Search:
    """One survey: the episodes found so far, and what is wrong with which."""

    def __init__(self, path: Path, info: Info, visitor: Visitor | None) -> None:
        self.path, self.info, self.visitor = path, info, visitor
        self.found: dict[int, EpisodeInfo] = {}
        self.findings: list[Finding] = []
        self.bad: set[int] = set()
        self.corrupt: set[str] = set()

    def error(
        self,
        kind: str,
        file: str,
        episodes: Sequence[int],
        message: str,
        frame: int | None = None,
        advice: str = RESTORE,
    ) -> None:
        """Note an error; its episodes are bad."""
        message = message.removeprefix(f"{self.path / file}: ")
        self.findings.append(Finding("error", kind, file, tuple(episodes), frame, message, advice))
        self.bad.update(episodes)

    def table(self) -> None:
        """Read the episode table, file by file."""
        info = self.info
        for file in episode_files(self.path):
            name = str(file.relative_to(self.path))
            try:
                check_hash(file, info.hashes.get(name))
                self.found |= read_episode_file(file, info.spec, info.data_path, info.video_path)
            except DatasetError as error:
                self.error("damaged", name, (), str(error).split(";")[0])
        missing = [index for index in range(info.total) if index not in self.found]
        if missing:
            self.error(
                "missing", "meta/episodes", missing, "the episode table says nothing of them"
            )
        if not (self.path / layout.TASKS).is_file():
            self.error("missing", layout.TASKS, (), "file of the data set is missing")
        self.found = {i: self.found[i] for i in range(info.total) if i in self.found}

    def jobs(self) -> list[tuple[str, str | None]]:
        """Every file with the camera whose video it is; None for a table."""
        tables = {info.data_file for info in self.found.values()}
        videos = {(p.file, c) for info in self.found.values() for c, p in info.videos.items()}
        return [*((file, None) for file in sorted(tables)), *sorted(videos)]

    def look(self, file: str, camera: str | None) -> None:
        """Look at one file."""
        infos = [
            info
            for info in self.found.values()
            if file == (info.data_file if camera is None else info.videos[camera].file)
        ]
        try:
            check_hash(self.path / file, self.info.hashes.get(file))
        except DatasetError as error:
            if not (self.path / file).is_file():
                indices = [info.index for info in infos]
                self.error("missing", file, indices, str(error))
                return
            self.corrupt.add(file)
        if camera is None:
            self._look_at_rows(file, infos)
        else:
            self._look_at_video(file, camera, infos)

    def _dataset(self, infos: Sequence[EpisodeInfo]) -> Dataset:
        return Dataset(self.path, self.info.spec, tuple(infos), {})

    def _look_at_rows(self, file: str, infos: Sequence[EpisodeInfo]) -> None:
        refused: dict[int, DatasetError] = {}
        try:
            rows = self._dataset(infos).read_rows(
                file, lambda info, error: refused.update({info.index: error}), damaged=True
            )
        except DatasetError as error:
            self.error("damaged", file, [info.index for info in infos], str(error))
            return
        for index, wrong in refused.items():
            name = f"{self.path / file}: episode {index}: "
            message = str(wrong).removeprefix(name).split(" at frame ")[0]
            damaged = file in self.corrupt or wrong.frame is None
            kind, advice = ("damaged", RESTORE) if damaged else ("values", LEAVE_OUT)
            self.error(kind, file, [index], message, wrong.frame, advice)
        for info in infos:
            if info.index not in rows:
                continue
            if file in self.corrupt and not _same_rows(info, rows[info.index]):
                self.error("damaged", file, [info.index], "its numbers are not those written")
            elif self.visitor is not None:
                self.visitor.rows(info, rows[info.index])

    def _look_at_video(self, file: str, camera: str, infos: Sequence[EpisodeInfo]) -> None:
        infos = sorted(infos, key=lambda info: info.videos[camera].first_frame)
        trusted = file in self.info.hashes and file not in self.corrupt
        wrong: dict[int, DatasetError] = {}
        if file in self.corrupt:
            wrong = _changed_frames(self.path / file, camera, infos)
        if self.visitor is not None or not trusted:
            wrong = self._decode(file, camera, infos, trusted) | wrong
        for index, error in wrong.items():
            self.error("damaged", file, [index], str(error), error.frame)

    def _decode(
        self, file: str, camera: str, infos: Sequence[EpisodeInfo], trusted: bool
    ) -> dict[int, DatasetError]:
        """Decode every episode of a video; what went wrong by episode, with the frame in it."""
        wrong: dict[int, DatasetError] = {}
        path, shape = self.path / file, (*self.info.spec.cameras[camera], 3)
        for run in _runs(infos, camera):
            frames = decode_frames(path, run[0].videos[camera].first_frame, self.info.spec.fps)
            failed = False
            for info in run:
                if failed:  # where one has failed the next begins anew
                    first = info.videos[camera].first_frame
                    frames, failed = decode_frames(path, first, self.info.spec.fps), False
                index = -1
                try:
                    for index, frame in enumerate(islice(frames, info.length)):
                        if frame.shape != shape:
                            raise DatasetError(
                                f"frame is {frame.shape[:2]}, the data set says {shape[:2]}", index
                            )
                        if self.visitor is not None:
                            self.visitor.frame(info, camera, index, frame)
                    if index + 1 < info.length:
                        raise DatasetError(
                            f"video ends here, {info.length - index - 1} frames too early",
                            index + 1,
                        )
                except DatasetError as error:
                    at = index + 1 if error.frame is None else error.frame
                    wrong[info.index] = DatasetError(str(error), at)
                    failed = True
            if run[-1] is infos[-1] and not trusted and file not in self.corrupt and not failed:
                with closing(frames):  # type: ignore[type-var]
                    wrong |= _too_long(frames, infos)
        return wrong

    def result(self) -> Survey:
        """What was found."""
        left_out = tuple(sorted(self.bad))
        kept = tuple(info for index, info in self.found.items() if index not in self.bad)
        hashes = {k: v for k, v in self.info.hashes.items() if k not in self.corrupt}
        dataset = Dataset(self.path, self.info.spec, kept, hashes, left_out)
        lost = max(self.info.frames - dataset.frames, 0)
        return Survey(dataset, tuple(merged(self.findings)), lost)


def _same_rows(info: EpisodeInfo, rows: Rows) -> bool:
    numbers: dict[str, NDArray[Any]] = {
        layout.PROPRIO: rows.proprio,
        layout.ACTION: rows.actions,
        layout.EVALUATION: rows.evaluation,
        layout.STAMP: rows.stamps_ns,
    }
    return info.checksums.get(ROWS) == rows_checksum(numbers)


def _changed_frames(
    path: Path, camera: str, infos: Sequence[EpisodeInfo]
) -> dict[int, DatasetError]:
    """Episodes of a corrupt video with a frame that is not the one written."""
    seen: list[int] = []
    reason = "file is corrupt and ends before this frame"
    try:
        for checksum in frame_checksums(path):
            seen.append(checksum)
    except DatasetError as error:
        reason = str(error)
    wrong = {}
    for info in infos:
        written = info.checksums.get(video_column(camera))
        if written is None:
            wrong[info.index] = DatasetError(
                "file is corrupt (its SHA-256 is not the one written), somewhere"
            )
            continue
        first = info.videos[camera].first_frame
        here = seen[first : first + info.length]
        bad = [n for n, (a, b) in enumerate(zip(here, written, strict=False)) if a != b]
        if bad:
            wrong[info.index] = DatasetError(
                f"frame is not the one written ({len(bad)} of the episode are not)", bad[0]
            )
        elif len(here) < info.length:
            wrong[info.index] = DatasetError(reason, len(here))
    return wrong


def _runs(infos: Sequence[EpisodeInfo], camera: str) -> list[list[EpisodeInfo]]:
    """Episodes that follow each other in the video without unused frames between."""
    runs: list[list[EpisodeInfo]] = []
    for info in infos:
        last = runs[-1][-1] if runs else None
        if (
            last is not None
            and last.videos[camera].first_frame + last.length == info.videos[camera].first_frame
        ):
            runs[-1].append(info)
        else:
            runs.append([info])
    return runs


def _too_long(frames: Any, infos: Sequence[EpisodeInfo]) -> dict[int, DatasetError]:  # noqa: ANN401
    """A video with frames beyond its last episode is not the one of these episodes."""
    more = sum(1 for _ in frames)
    said = f"holds {more} frames more than its episodes: it may be the video of others"
    return {info.index: DatasetError(said) for info in infos} if more else {}
