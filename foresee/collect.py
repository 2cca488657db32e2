"""Record scripted exploration of a simulated world as a data set."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from foresee.errors import UsageError
from foresee.workers import map_in_processes
from foresee.worlds import CAMERA, check_seed, core_of, images_of, make_world
from sim.policies import make_explorer
from sim.randomization import Randomization
from world_model.data.dataset import DatasetSpec, DatasetWriter, Episode

# Truth that is stored beside the data for probes; never given to training or to the agent.
EVALUATION = {
    "base.x": ("base_position_m", 0),
    "base.y": ("base_position_m", 1),
    "wall.x": ("door_position_m", 0),
    "door.y": ("door_position_m", 1),
    "block.x": ("block_position_m", 0),
    "block.y": ("block_position_m", 1),
    "block.yaw": ("block_yaw_rad", None),
    "block.yaw_cos": ("block_heading", 0),
    "block.yaw_sin": ("block_heading", 1),
}


@dataclass(frozen=True)
class Recording:
    """What one worker is asked to record.

    Attributes:
        env_id: the world.
        image_size: side of the camera image in pixels.
        episode_frames: frames in an episode.
        seed: of the whole collection; episode i uses ``(seed, i)``.
        randomization: what varies between episodes, or None.
        cameras: names of the world's cameras to record.
    """

    env_id: str
    image_size: int
    episode_frames: int
    seed: int
    randomization: Randomization | None
    cameras: tuple[str, ...] = (CAMERA,)


def collect(
    recording: Recording, frames: int, out: Path, workers: int = 0, progress: bool = True
) -> dict[str, Any]:
    """Record at least ``frames`` frames; Ctrl-C ends early and leaves a valid data set.

    The same recording and seed give the same data set whatever the number of workers.

    Args:
        recording: what to record.
        frames: how many; whole episodes are written.
        out: new data set folder.
        workers: processes; 0 takes one for each core.
        progress: show a progress bar.

    Returns:
        ``frames``, ``episodes``, ``wall_s``, ``frames_per_s``, ``finished``, ``out``.

    Raises:
        DatasetError: ``out`` exists and is not empty.
        UsageError: a number is out of range or the environment does not exist.
        WorkerError: a worker process died; ``out`` holds what was recorded until then.
    """
    if frames < 1 or recording.episode_frames < 2:
        raise UsageError("collect needs at least 1 frame, in episodes of at least 2 frames")
    check_seed(recording.seed)
    began = time.monotonic()
    spec = _describe(recording)
    if recording.image_size % 16:
        raise UsageError(
            f"--image-size must be a multiple of 16, which the encoder needs, got "
            f"{recording.image_size}"
        )
    count = -(-frames // recording.episode_frames)
    written = episodes = 0
    finished = False
    total = count * recording.episode_frames
    work = map_in_processes(_record, range(count), workers, _start_worker, (recording,))
    try:
        with (
            DatasetWriter(out, spec) as writer,
            closing(work) as recorded,
            tqdm(total=total, desc="collect", unit="frame", disable=not progress) as bar,
        ):
            for episode in recorded:
                if len(episode) < 2:  # the world was lost at once: nothing to learn from
                    continue
                writer.add(episode)
                written += len(episode.proprio)
                episodes += 1
                bar.update(len(episode.proprio))
        finished = True
    except KeyboardInterrupt:
        tqdm.write(f"interrupted after {episodes} episodes; {out} holds them")
    wall_s = time.monotonic() - began
    return {
        "out": str(out),
        "env": recording.env_id,
        "seed": recording.seed,
        "frames": written,
        "episodes": episodes,
        "finished": finished,
        "wall_s": round(wall_s, 2),
        "frames_per_s": round(written / wall_s, 1),
    }


def _describe(recording: Recording) -> DatasetSpec:
    world = make_world(recording.env_id, recording.image_size, cameras=recording.cameras)
    try:
        core = core_of(world)
        _, info = world.reset(seed=0)
        size = (recording.image_size, recording.image_size)
        return DatasetSpec(
            fps=1.0 / core.control_dt_s,
            cameras=dict.fromkeys(recording.cameras, size),
            proprio_names=core.proprio_names,
            action_names=core.action_names,
            action_low=tuple(float(v) for v in core.action_space.low),
            action_high=tuple(float(v) for v in core.action_space.high),
            evaluation_names=tuple(n for n, (key, _) in EVALUATION.items() if key in info),
            robot_type=core.robot_type,
            env_id=recording.env_id,
            seed=recording.seed,
        )
    finally:
        world.close()


_world: gymnasium.Env
_recording: Recording


def _start_worker(recording: Recording) -> None:
    global _world, _recording
    _recording = recording
    _world = make_world(
        recording.env_id,
        recording.image_size,
        recording.randomization,
        max_episode_steps=recording.episode_frames,
        cameras=recording.cameras,
    )


def _record(index: int) -> Episode:
    """Episode ``index``: action t is what was applied from frame t to frame t + 1."""
    seed = int(np.random.SeedSequence((_recording.seed, index)).generate_state(1)[0])
    obs, info = _world.reset(seed=seed)
    explorer = make_explorer(_world, np.random.default_rng(seed))
    frames, proprio, actions, evaluation = [], [], [], []
    for _ in range(_recording.episode_frames):
        action = explorer.action(info)
        frames.append(images_of(_world, obs))
        proprio.append(obs["proprio"])
        actions.append(action)
        evaluation.append(_truth(info))
        obs, _, terminated, truncated, info = _world.step(action)
        if terminated or truncated:
            break
    return Episode(
        images={n: np.stack([images[n] for images in frames]) for n in _recording.cameras},
        proprio=np.stack(proprio).astype(np.float32),
        actions=np.stack(actions).astype(np.float32),
        evaluation=np.array(evaluation, np.float32).reshape(len(frames), -1),
        task=_recording.env_id,
        stamps_ns=np.arange(len(frames)) * round(core_of(_world).control_dt_s * 1e9),
    )


def _truth(info: dict[str, Any]) -> list[float]:
    values = []
    for key, index in EVALUATION.values():
        if key in info:
            values.append(float(info[key] if index is None else info[key][index]))
    return values
