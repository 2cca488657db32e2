"""Episodic memory on disk: what was seen and done, kept across runs, found again by latent.

Moments are appended to segment files as records of one size, each with a checksum. A process that
is killed loses none whose writing had returned; what it was writing may be half there, as after a
power cut, and is left out when the memory is opened. When two segments are full the older one
goes, so that the size on disk is bounded.
"""

from __future__ import annotations

import bisect
import errno
import fcntl
import hashlib
import json
import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.settings import ConfigError
from controller.types import ModelSpec

Array = NDArray[np.float32]
_FORMAT = "foresee episodic memory 1"
_HEADER_BYTES = 4096
_SUFFIX = ".moments"
# So many of the nearest moments are looked at when one is sought that led somewhere.
_LOOKED_AT = 32
# A way that a memory shows is worth following when it ends this much nearer to the goal.
_WORTH = 0.5
# A remembered place is here when it is this much nearer, squared, than the goal.
_HERE = 0.25


class Moment(NamedTuple):
    """What was seen at one frame, and what was done until the next.

    Attributes:
        stamp_ns: of the frame.
        latent: ``(N, D)``.
        proprio: ``(P,)`` SI.
        action: ``(A,)`` SI, mean over the time to the next frame.
    """

    stamp_ns: int
    latent: Array
    proprio: Array
    action: Array


class EpisodicMemory:
    """Moments in the order they were lived, at most ``capacity``; one process at a time."""

    def __init__(self, folder: Path, kind: np.dtype, header: bytes, capacity: int) -> None:
        """Use `open`."""
        self._folder = folder
        self._kind = kind
        self._header = header
        self._per_segment = max(capacity // 2, 1)
        self._busy = threading.Lock()  # closed by one thread while another still remembers
        self._file: int | None = None
        self._lock: int | None = None
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        self._in_file = 0
        self._number = 0
        self.damaged = 0
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise ConfigError(
                f"{folder}: the memory is in use by another process; end it or name another folder"
            ) from None
        self._moments = self._read()
        self._count = len(self._moments)
        # Room for two segments, so that remembering does not copy.
        self._moments = np.concatenate(
            [self._moments, np.zeros(2 * self._per_segment - self._count, kind)]
        )
        self._run = int(self._moments["run"][: self._count].max(initial=0)) + 1

    @classmethod
    def open(cls, folder: Path, spec: ModelSpec, identity: str, capacity: int) -> EpisodicMemory:
        """Open the memory of a model, or begin it.

        Args:
            folder: holds a folder for each model: latents of one mean nothing to another.
            spec: the model's.
            identity: of the model's weights.
            capacity: the most moments kept, at least 2.

        Raises:
            ConfigError: it cannot be written, or is in use by another process.
        """
        tokens, width = spec.latent_shape
        kind = np.dtype(
            [
                ("run", "<u8"),
                ("stamp_ns", "<i8"),
                ("latent", "<f4", (tokens, width)),
                ("proprio", "<f4", (len(spec.proprio_names),)),
                ("action", "<f4", (len(spec.action_names),)),
                ("checksum", "<u4"),
            ]
        )
        described = {
            "format": _FORMAT,
            "model": identity,
            "latent": [tokens, width],
            "proprio": list(spec.proprio_names),
            "action": list(spec.action_names),
        }
        text = json.dumps(described).encode()
        name = hashlib.sha256(text).hexdigest()[:16]
        try:
            (folder / name).mkdir(parents=True, exist_ok=True)
            return cls(folder / name, kind, text.ljust(_HEADER_BYTES, b"\n"), capacity)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot keep a memory here ({error.strerror})") from None

    def __len__(self) -> int:
        """How many moments there are."""
        return self._count

    def begin_run(self) -> None:
        """What comes next does not follow from what was before."""
        self._run += 1

    def add(self, moment: Moment) -> None:
        """Remember a moment; it is with the system when this returns: a kill does not lose it.

        After `close` it does nothing: an agent may still be at work when everything ends.

        Raises:
            OSError: it cannot be written.
        """
        record = np.zeros(1, self._kind)
        record["run"], record["stamp_ns"] = self._run, moment.stamp_ns
        record["latent"], record["proprio"] = moment.latent, moment.proprio
        record["action"] = moment.action
        record["checksum"] = _checksum(record[0])
        with self._busy:
            if self._lock is None:
                return
            if self._file is None or self._in_file >= self._per_segment:
                self._next_segment()
            self._write(record.tobytes())
            self._in_file += 1
            self._moments[self._count] = record[0]
            self._count += 1

    def nearest(self, latent: Array, count: int) -> NDArray[np.intp]:
        """Indices of the moments nearest to a latent ``(N, D)``, nearest first."""
        if self._count == 0 or count == 0:
            return np.zeros(0, np.intp)
        distance = self._distance(slice(0, self._count), latent)
        count = min(count, self._count)
        first = np.argpartition(distance, count - 1)[:count]
        return first[np.argsort(distance[first], kind="stable")]

    def moment(self, index: int) -> Moment:
        """The moment at an index, 0 the oldest."""
        record = self._moments[index]
        return Moment(
            int(record["stamp_ns"]),
            record["latent"].copy(),
            record["proprio"].copy(),
            record["action"].copy(),
        )

    def courses(self, latent: Array, goal: Array, count: int, steps: int) -> Array:
        """What was done where it looked like now, best for the goal first.

        Of the moments nearest to now, those are taken whose next ``steps`` moments come nearest to
        the goal.

        Args:
            latent: ``(N, D)`` now.
            goal: ``(N, D)``.
            count: S, the most courses.
            steps: H, how long each is; zero actions where the run ended earlier.

        Returns:
            ``(S, H, A)`` SI, one action for each step, fewer than ``count`` where less is known.
        """
        size = self._moments["action"].shape[1]
        starts = self.nearest(latent, max(_LOOKED_AT, count)) if count else np.zeros(0, np.intp)
        ends = [self._distance(self._after(start, steps + 1), goal).min() for start in starts]
        chosen = starts[np.argsort(ends, kind="stable")[:count]]
        courses = np.zeros((len(chosen), steps, size), np.float32)
        for row, start in enumerate(chosen):
            done = self._moments["action"][self._after(start, steps)]
            courses[row, : len(done)] = done
        return courses

    def subgoal(self, latent: Array, goal: Array, steps: int) -> Array | None:
        """A latent once reached on a way from here towards the goal.

        Args:
            latent: ``(N, D)`` now.
            goal: ``(N, D)``.
            steps: how far ahead on that way.

        Returns:
            ``(N, D)``; ``None`` when no way is known that ends much nearer to the goal than now,
            or the goal is that near itself.
        """
        now = float(np.square(latent - goal).mean())
        best, found = _WORTH * now, None
        to_goal: Array | None = None  # of all moments: the ways from here have most in common
        for start in self.nearest(latent, _LOOKED_AT):
            if self._distance(slice(start, start + 1), latent)[0] > _HERE * now:
                break  # this one and all that follow are somewhere else
            if to_goal is None:
                to_goal = self._distance(slice(0, self._count), goal)
            way = self._after(start, self._count)
            distance = to_goal[way]
            nearest = int(distance.argmin())
            if nearest > steps and distance[nearest] < best:
                best, found = float(distance[nearest]), way.start + steps
        return None if found is None else self._moments["latent"][found].copy()

    def close(self) -> None:
        """Let go of the files."""
        with self._busy:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def __del__(self) -> None:
        """Nobody can use it any more: let go of the files."""
        self.close()

    def _distance(self, part: slice, latent: Array) -> Array:
        latents = self._moments["latent"][part]
        difference = (latents - latent).reshape(len(latents), -1)
        distance: Array = np.square(difference).mean(axis=1)
        return distance

    def _after(self, start: int, steps: int) -> slice:
        """The moments from an index on that belong to the same run, at most ``steps``."""
        runs, start = self._moments["run"], int(start)  # runs are numbered as they were lived
        end = bisect.bisect_right(runs, runs[start], start, min(start + steps, self._count))
        return slice(start, end)

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"))

    def _read(self) -> NDArray[np.void]:
        """All sound records of the newest two segments; the newer one is gone on with.

        What a killed process had not finished writing, a record or a head, is no damage: nobody
        was told that it is kept.
        """
        parts = [np.zeros(0, self._kind)]
        segments = self._segments()
        for path in segments[:-2]:
            path.unlink()
        for path in segments[-2:]:
            content = path.read_bytes()
            if content[:_HEADER_BYTES] != self._header:
                self.damaged += not self._header.startswith(content)
                path.unlink()
                continue
            self._number, size = int(path.stem), self._kind.itemsize
            whole = (len(content) - _HEADER_BYTES) // size
            if len(content) != _HEADER_BYTES + whole * size:
                os.truncate(path, _HEADER_BYTES + whole * size)
            self._in_file = whole
            records = np.frombuffer(content, self._kind, whole, _HEADER_BYTES)
            sound = np.array([_checksum(r) == r["checksum"] for r in records], bool)
            self.damaged += int((~sound).sum())
            parts.append(records[sound][-self._per_segment :])
        if self._number and self._in_file < self._per_segment:
            self._file = os.open(self._path(), os.O_WRONLY | os.O_APPEND)
        return np.concatenate(parts)

    def _next_segment(self) -> None:
        """Begin a new file; of the old ones only the newest stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        for path in self._segments()[:-1]:
            path.unlink()
        kept = self._moments[max(self._count - self._per_segment, 0) : self._count].copy()
        self._moments[: len(kept)] = kept
        self._count = len(kept)
        self._number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.open(self._path(), flags, 0o644)
        self._write(self._header)
        self._in_file = 0

    def _path(self) -> Path:
        return self._folder / f"{self._number:08d}{_SUFFIX}"

    def _write(self, data: bytes) -> None:
        """Append all of it or none: records stay where they are looked for."""
        assert self._file is not None
        before = os.fstat(self._file).st_size
        try:
            if os.write(self._file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path()))
        except OSError:
            os.ftruncate(self._file, before)
            raise


def _checksum(record: np.void) -> int:
    return zlib.crc32(record.tobytes()[:-4])


def knots_of(courses: Array, steps: Sequence[int]) -> Array:
    """Courses of actions ``(S, H, A)`` as knots ``(S, K, A)``, each the mean until the next one.

    Args:
        courses: one action for each step.
        steps: K steps at which the knots are, ascending from 0.
    """
    ends = [*steps[1:], courses.shape[1]]
    spans = [
        slice(min(first, courses.shape[1] - 1), max(end, first + 1))
        for first, end in zip(steps, ends, strict=True)
    ]
    return np.stack([courses[:, span].mean(axis=1) for span in spans], axis=1)
