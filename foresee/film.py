"""Draw what a recorded bag shows: the camera beside the goal, the cost underneath."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from controller.configurator import load_task
from foresee.errors import UsageError
from foresee.worlds import CAMERA
from ros_nodes.convert import diagnostic_values, image_to_array
from world_model.data.bags import read_bag
from world_model.data.goal_images import read_image

_SIDE = 320
_CURVE_HEIGHT = 200
_CAPTION_HEIGHT = 24
_GIF_SPEED = 2.0
_GIF_EVERY = 4


@dataclass(frozen=True)
class Recording:
    """What a bag of the graph holds, on the recorder's clock, seconds from its first message.

    Attributes:
        frames: (time, image ``(H, W, 3)`` uint8), in order.
        goals: (time, image) for each goal, in order; of a task the last of its images.
        costs: ``(n, 2)``, time and cost of each plan that has one.
    """

    frames: list[tuple[float, NDArray[np.uint8]]]
    goals: list[tuple[float, NDArray[np.uint8]]]
    costs: NDArray[np.float64]


def film(bag: Path, out: Path) -> list[Path]:
    """Write ``demo.mp4``, ``demo.gif`` and ``plot.png`` into ``out``.

    Raises:
        DatasetError: the bag cannot be read.
        UsageError: there is no image in it.
    """
    recording = read_recording(bag)
    if not recording.frames:
        raise UsageError(f"{bag}: holds no image of camera {CAMERA!r}, there is nothing to draw")
    plot, curve, column_of = _draw_curve(recording)
    plot_path = out / "plot.png"
    plot.save(plot_path)
    rate = _rate(recording)
    return [
        _write_mp4(out / "demo.mp4", _pictures(recording, curve, column_of), rate),
        _write_gif(out / "demo.gif", _pictures(recording, curve, column_of), rate),
        plot_path,
    ]


def read_recording(bag: Path) -> Recording:
    """Pick camera, goals and costs out of a bag of the graph."""
    frames, goals, costs = [], [], []
    start_ns: int | None = None
    for topic, stamp_ns, message in read_bag(bag):
        start_ns = stamp_ns if start_ns is None else start_ns
        time_s = (stamp_ns - start_ns) / 1e9
        name = topic.lstrip("/")
        if name == f"{CAMERA}/image_raw":
            frames.append((time_s, image_to_array(message)))
        elif name == f"{CAMERA}/goal_image":
            goals.append((time_s, image_to_array(message)))
        elif name == "task":
            goals += [(time_s, image) for image in _end_of(Path(message.data))]
        elif name == "plan_status":
            cost = float(diagnostic_values(message).get("cost", "nan"))
            if np.isfinite(cost):
                costs.append((time_s, cost))
    return Recording(frames, goals, np.array(costs, np.float64).reshape(-1, 2))


def _end_of(task: Path) -> list[NDArray[np.uint8]]:
    """The image that a task ends with, if it is one and still there."""
    if not task.is_file():
        return []
    files = [goal.image for goal in load_task(task).goals[-1:] if goal.image is not None]
    paths = [Path(file.replace("{camera}", CAMERA)) for file in files]
    return [read_image(path) for path in paths if path.is_file()]


def _rate(recording: Recording) -> Fraction:
    """Frames per second of the camera, as recorded."""
    times = [time_s for time_s, _ in recording.frames]
    if len(times) < 2 or times[-1] <= times[0]:
        return Fraction(10)
    return Fraction(round((len(times) - 1) / (times[-1] - times[0])) or 1)


def _draw_curve(
    recording: Recording,
) -> tuple[Image.Image, NDArray[np.uint8], Callable[[float], int]]:
    """The plot for people, the strip under the video, and the strip's column of a time."""
    plot, _ = _curve(recording, 900, 420)
    strip, column_of = _curve(recording, 2 * _SIDE, _CURVE_HEIGHT)
    return plot, np.asarray(strip), column_of


def _curve(
    recording: Recording, width: int, height: int
) -> tuple[Image.Image, Callable[[float], int]]:
    figure, axes = plt.subplots(figsize=(width / 100, height / 100), dpi=100)
    axes.plot(recording.costs[:, 0], recording.costs[:, 1], color="tab:orange", linewidth=1.2)
    for number, (time_s, _) in enumerate(recording.goals, 1):
        axes.axvline(time_s, color="0.6", linewidth=0.8)
        axes.annotate(f" goal {number}", (time_s, 0.93), xycoords=("data", "axes fraction"), size=8)
    last_s = recording.frames[-1][0] if recording.frames else 1.0
    axes.set_xlim(0, max(last_s, 1.0))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time, s")
    axes.set_ylabel("cost of the plan")
    figure.tight_layout()
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    transform = axes.transData

    def column_of(time_s: float) -> int:
        return int(np.clip(transform.transform((time_s, 0))[0], 0, width - 1))

    plt.close(figure)
    return Image.fromarray(pixels), column_of


def _pictures(
    recording: Recording, curve: NDArray[np.uint8], column_of: Callable[[float], int]
) -> Iterator[NDArray[np.uint8]]:
    """One picture for each camera frame: caption, camera beside goal, curve with a cursor."""
    first_s = recording.goals[0][0] if recording.goals else 0.0
    for time_s, image in recording.frames:
        if time_s < first_s:
            continue  # nothing to show beside the camera yet
        given = [
            (number, goal) for number, (at, goal) in enumerate(recording.goals, 1) if at <= time_s
        ]
        number, goal = given[-1] if given else (0, np.zeros_like(image))
        canvas = Image.new("RGB", (2 * _SIDE, _CAPTION_HEIGHT + _SIDE), "white")
        for column, pixels in enumerate((image, goal)):
            tile = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            canvas.paste(tile, (column * _SIDE, _CAPTION_HEIGHT))
        draw = ImageDraw.Draw(canvas)
        draw.text((8, 6), f"camera, {time_s:.1f} s", fill="black")
        draw.text((_SIDE + 8, 6), f"goal image {number} of {len(recording.goals)}", fill="black")
        strip = curve.copy()
        column = column_of(time_s)
        strip[:, column : column + 2] = (200, 30, 30)
        yield np.concatenate([np.asarray(canvas), strip])


def _write_mp4(path: Path, pictures: Iterator[NDArray[np.uint8]], rate: Fraction) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20"})
        stream.width, stream.height = 2 * _SIDE, _CAPTION_HEIGHT + _SIDE + _CURVE_HEIGHT
        stream.pix_fmt = "yuv420p"
        for pixels in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _write_gif(path: Path, pictures: Iterator[NDArray[np.uint8]], rate: Fraction) -> Path:
    """Every few frames, smaller and at double speed: small enough for a web page."""
    images = [
        Image.fromarray(p).resize((p.shape[1] * 3 // 4, p.shape[0] * 3 // 4)).quantize(64)
        for p in islice(pictures, 0, None, _GIF_EVERY)
    ]
    duration_ms = round(1000 * _GIF_EVERY / float(rate) / _GIF_SPEED)
    images[0].save(path, save_all=True, append_images=images[1:], duration=duration_ms, loop=0)
    return path
