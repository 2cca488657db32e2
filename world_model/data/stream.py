"""Train on more frames than the disk has room for decoded: a few shards of episodes at a time.

The files of the data set itself are what is streamed: an episode is found in its video without
reading what lies before it. The disk holds all numbers, the frames of the held-out episodes, and
`RESIDENT` + 1 shards in places of fixed size: clips are drawn from `RESIDENT` of them while another
process decodes into the last one; then the oldest gives its place up.
"""

from __future__ import annotations

import atexit
import fcntl
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from world_model.data.cache import check_hashes, map_numbers
from world_model.data.clips import Cache, split_episodes
from world_model.data.dataset import Dataset
from world_model.data.decode import arrays_of, decode_episode, images_name, reserve, write_rows
from world_model.data.frames import FrameFile
from world_model.data.shards import RESIDENT, Room, ShardOrder, divide, frames_needed
from world_model.data.spec import DatasetError

FOLDER = ".cache.stream"
PLACES = RESIDENT + 1


@dataclass(frozen=True)
class Bound:
    """How much of a data set may be decoded at a time, and how it is drawn from.

    Attributes:
        nbytes: largest size of what is decoded on the disk.
        clip_length: frames in a training clip; shorter episodes are not trained on.
        batch: clips in a training step.
    """

    nbytes: int
    clip_length: int
    batch: int


class StreamedFrames:
    """Frames of one camera by their number in the whole data set, of the episodes on the disk.

    Args:
        file: the frames on the disk.
        starts: ``(N,)`` number of the first frame of each episode.
        rows: ``(N,)`` where that frame lies in the file; -1 for an episode that is not there. The
            owner changes it.
        frames: T, frames of the whole data set.
    """

    def __init__(
        self, file: FrameFile, starts: NDArray[np.int64], rows: NDArray[np.int64], frames: int
    ) -> None:
        """Read from ``file``."""
        self._file, self._starts, self._rows = file, starts, rows
        self.shape = (frames, *file.shape[1:])

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - as `Frames` has it
        """Frames by their numbers; IndexError for one that is not on the disk."""
        return self._file[self._find(np.asarray(index))]

    def clips(self, starts: NDArray[np.integer[Any]], length: int) -> NDArray[np.uint8]:
        """``(B, L, H, W, 3)``: L frames from each of the B starts, which stay in their episode."""
        return self._file.clips(self._find(np.asarray(starts)), length)

    def _find(self, numbers: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        episodes = np.searchsorted(self._starts, numbers, side="right") - 1
        rows = self._rows[episodes]
        if (rows < 0).any():
            missing = np.unique(episodes[rows < 0])
            raise IndexError(f"episodes {missing.tolist()[:8]} are not on the disk at this step")
        return np.asarray(rows + numbers - self._starts[episodes])


class Stream:
    """A data set of which a bounded part is decoded on the disk. One thread uses it; close it.

    What is there at a step, and so what is drawn, is a function of data set, bound, seed and step.

    Args:
        dataset: what to stream.
        bound: of the disk.
        held_out: share of the episodes to hold out, see `split_episodes`.
        seed: of the episodes held out and of the order of the others.
        progress: say what is done, and show a bar.

    Attributes:
        cache: the whole data set; of its frames only those on the disk can be read.
        fit: episodes to train on.
        held_out: held-out episodes on the disk.

    Raises:
        DatasetError: the data set is damaged, the bound is too small, the disk is full, or another
            process streams the data set.
    """

    def __init__(
        self, dataset: Dataset, bound: Bound, held_out: float, seed: int, progress: bool
    ) -> None:
        """Decode numbers and held-out frames; the first shards are when a step asks for them."""
        self._dataset, self._bound = dataset, bound
        self._lengths = np.array([info.length for info in dataset.episodes], dtype=np.int64)
        fit, kept = split_episodes(len(self._lengths), held_out, seed)
        self.fit = fit[self._lengths[fit] >= bound.clip_length]
        whole = arrays_of(dataset).total
        self._room = self._divide(whole, kept, seed)
        self._arrays = arrays_of(dataset, self._room.frames)
        self.held_out = self._room.held_out
        self._order = ShardOrder(self._lengths, self.fit, self._room.shard_frames, seed)
        shards = len(self._order.of_pass(0))
        # While a shard is there about as many clips are drawn from it as it has frames.
        self._steps = max(1, round(int(self._lengths[self.fit].sum()) / shards / bound.batch))
        self._rows = np.full(len(self._lengths), -1, np.int64)
        self._turn, self._starts = -1, np.zeros(0, np.int64)
        self._there: dict[int, tuple[int, int]] = {}  # place: shard in it and the ticket for it
        self._asked = self._done = 0
        self._worker: tuple[BaseProcess, Connection] | None = None
        if progress:
            tqdm.write(
                f"{dataset.path}: the cache would be {whole / 1e6:.0f} MB; streaming "
                f"{shards} shards through {bound.nbytes / 1e6:.0f} MB, {RESIDENT} at a time, each "
                f"for {RESIDENT * self._steps} steps; {len(self.held_out)} of {len(kept)} "
                "held-out episodes stay"
            )
        self._lock = _lock(dataset.path)
        try:
            self._folder = self._make_room()
            self.cache = self._fill(progress)
        except OSError as error:
            self.close()
            raise DatasetError(
                f"{dataset.path / FOLDER}: cannot be written ({error.strerror or error}); it needs "
                f"{bound.nbytes / 1e6:.0f} MB, see --cache-gb"
            ) from error
        except BaseException:
            self.close()
            raise

    def clip_starts(self, step: int) -> NDArray[np.int64]:
        """Frames at which a clip can start among those of a step; waits until they are decoded.

        Raises:
            DatasetError: an episode cannot be decoded.
        """
        if step // self._steps != self._turn:
            self._turn_to(step // self._steps)
        return self._starts

    def episodes(self, step: int) -> NDArray[np.int64]:
        """Episodes to train on that are there at a step; does not wait."""
        turn = step // self._steps
        return np.unique(np.concatenate([self._order[turn + n] for n in range(RESIDENT)]))

    def close(self) -> None:
        """End the other process and remove what is decoded; may be called again."""
        if self._worker is not None:
            process, tasks = self._worker
            process.kill()
            atexit.unregister(process.kill)
            process.join()
            tasks.close()
            self._worker = None
        if self._lock >= 0:
            shutil.rmtree(self._dataset.path / FOLDER, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def _divide(self, whole: int, held_out: NDArray[np.int64], seed: int) -> Room:
        path, bound = self._dataset.path, self._bound
        if not len(self.fit):
            raise DatasetError(f"{path}: no episode has the {bound.clip_length} frames of a clip")
        frame = sum(3 * height * width for height, width in self._dataset.spec.cameras.values())
        numbers = whole - frame * self._dataset.frames
        try:
            frames = max(bound.nbytes - numbers, 0) // frame
            return divide(frames, self._lengths, self.fit, held_out, seed)
        except DatasetError as error:
            least = numbers + frame * frames_needed(self._lengths, self.fit, held_out)
            raise DatasetError(
                f"{path}: --cache-gb {bound.nbytes / 1e9:g} is too small for its numbers and "
                f"{PLACES} shards of its longest episode; give {np.ceil(least / 1e5) / 1e4:g}"
            ) from error

    def _make_room(self) -> Path:
        """Take the whole of the disk space; what a run that was killed left is removed."""
        folder = self._dataset.path / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        # A name of its own: what a killed run's process may still write goes nowhere.
        own = Path(tempfile.mkdtemp(dir=folder))
        for name in self._arrays.kinds:
            reserve(own / name, self._arrays.nbytes(name))
        return own

    def _fill(self, progress: bool) -> Cache:
        """Decode what stays."""
        dataset, folder = self._dataset, self._folder
        dataset_hash = check_hashes(dataset)
        starts = np.cumsum(self._lengths) - self._lengths
        indices = [info.index for info in dataset.episodes]
        write_rows(dataset, folder, dict(zip(indices, starts.tolist(), strict=True)))
        self._lay(self.held_out, 0)
        bar = tqdm(self.held_out, unit=" episodes", desc="held out", disable=not progress)
        for episode in bar:
            info = dataset.episodes[int(episode)]
            decode_episode(dataset, info, folder, int(self._rows[episode]))
        files = {
            name: FrameFile(folder / images_name(name), self._arrays.shapes[images_name(name)])
            for name in dataset.spec.cameras
        }
        return Cache(
            spec=dataset.spec,
            images={
                name: StreamedFrames(file, starts, self._rows, dataset.frames)
                for name, file in files.items()
            },
            proprio=map_numbers(folder / "proprio.f32", self._arrays),
            actions=map_numbers(folder / "actions.f32", self._arrays),
            evaluation=map_numbers(folder / "evaluation.f32", self._arrays),
            episode_starts=starts,
            episode_lengths=self._lengths,
            dataset_hash=dataset_hash,
            left_out=dataset.left_out,
        )

    def _lay(self, episodes: NDArray[np.int64], row: int) -> None:
        """Note that episodes lie end to end from a row on."""
        lengths = self._lengths[episodes]
        self._rows[episodes] = row + np.cumsum(lengths) - lengths

    def _row(self, shard: int) -> int:
        """First row of a shard's place."""
        return self._room.held_out_frames + shard % PLACES * self._room.shard_frames

    def _turn_to(self, turn: int) -> None:
        """Wait for the shards of a turn, and have the next one decoded."""
        for shard in range(turn, turn + PLACES):
            if self._there.get(shard % PLACES, (-1, 0))[0] != shard:
                self._ask(shard)
        present = range(turn, turn + RESIDENT)
        self._wait(max(self._there[shard % PLACES][1] for shard in present))
        self._rows[self.fit] = -1
        # Where two passes meet an episode may be in two shards; either place has its frames.
        for shard in present:
            self._lay(self._order[shard], self._row(shard))
        episodes = self.episodes(turn * self._steps)
        self._starts = self.cache.clip_starts(self._bound.clip_length, episodes)
        self._turn = turn

    def _ask(self, shard: int) -> None:
        """Have a shard decoded into its place; whatever is there is not drawn from any more."""
        if self._worker is None:
            self._worker = _start_worker(self._dataset, self._folder)
        self._asked += 1
        self._there[shard % PLACES] = (shard, self._asked)
        self._worker[1].send((self._order[shard].tolist(), self._row(shard)))

    def _wait(self, ticket: int) -> None:
        """Wait until everything up to a ticket is decoded; it is in the order it was asked for."""
        assert self._worker is not None
        process, tasks = self._worker
        while self._done < ticket:
            try:
                problem: str = tasks.recv()
            except (EOFError, OSError) as error:
                process.join()
                raise DatasetError(
                    f"{self._dataset.path}: the process that decodes it died (exit status "
                    f"{process.exitcode}); is there enough memory? --resume goes on"
                ) from error
            if problem:
                raise DatasetError(problem)
            self._done += 1


def _lock(path: Path) -> int:
    """Lock a data set for one stream; the system frees it when the process ends, however it does.

    Raises:
        DatasetError: another process has it.
    """
    lock = path / f"{FOLDER}.lock"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DatasetError(f"{lock}: cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DatasetError(
            f"{path}: another process streams this data set with --cache-gb; wait for its end"
        ) from error
    return descriptor


def _start_worker(dataset: Dataset, folder: Path) -> tuple[BaseProcess, Connection]:
    """Start the process that decodes, and return our end of its pipe."""
    # "spawn", because torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, dataset, folder), daemon=True)
    # Ctrl-C and a SIGTERM to the whole group are for us alone; the process inherits that they are
    # blocked. Starting Python's resource tracker, which is part of the first start, would unblock
    # them in between.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # Before what multiprocessing does at the end: it would send SIGTERM and wait.
    atexit.register(process.kill)
    theirs.close()
    return process, ours


def _work(tasks: Connection, dataset: Dataset, folder: Path) -> None:
    """Decode what is asked for, one answer each: what went wrong, or nothing."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        episodes, row = tasks.recv()
        try:
            for episode in episodes:
                info = dataset.episodes[episode]
                decode_episode(dataset, info, folder, row)
                row += info.length
            problem = ""
        except (DatasetError, OSError) as error:
            problem = str(error)
        tasks.send(problem)


def _end_with_parent() -> None:
    """End this process at once when the one that started it has ended, however it did."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
