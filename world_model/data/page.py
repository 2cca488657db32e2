"""A data set as one HTML file that any browser opens: videos, curves, what is wrong."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from world_model.data.dataset import Dataset
from world_model.data.findings import Finding

_TEMPLATE = Path(__file__).with_name("page.html")
_SMALLEST_SIDE = 256  # small images are enlarged, pixel by pixel


def write_page(
    dataset: Dataset, places: Sequence[int], findings: Sequence[Finding], out: Path
) -> None:
    """Write the page, videos inside it (h264 as browsers play it, about 1 MB a minute at 64 px).

    Args:
        dataset: what to show.
        places: which of its episodes.
        findings: what `check_dataset` found; shown with the episodes they are about.
        out: file to write.
    """
    spec = dataset.spec
    episodes = []
    for place in places:
        episode, info = dataset.episode(place), dataset.episodes[place]
        episodes.append(
            {
                "index": info.index,
                "task": info.task,
                "time_s": ((episode.stamps_ns - episode.stamps_ns[0]) / 1e9).round(4).tolist(),
                "proprio": _plain(episode.proprio),
                "actions": _plain(episode.actions),
                "videos": {
                    camera: base64.b64encode(_browser_video(images, spec.fps)).decode()
                    for camera, images in episode.images.items()
                },
                "findings": [found.line() for found in findings if info.index in found.episodes],
            }
        )
    lost = f", {len(dataset.left_out)} more are damaged" if dataset.left_out else ""
    summary = (
        f"{len(dataset)} episodes{lost}, {dataset.frames} frames, {spec.fps:g} a second; "
        f"{len(episodes)} episodes are shown"
    )
    values = {
        "fps": spec.fps,
        "proprio_names": spec.proprio_names,
        "action_names": spec.action_names,
        "findings": [found.line() for found in findings],
        "episodes": episodes,
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("{{title}}", html.escape(dataset.path.resolve().name))
    text = text.replace("{{summary}}", html.escape(summary))
    text = text.replace("{{data}}", json.dumps(values).replace("<", "\\u003c"))
    out.write_text(text, encoding="utf-8")


def _plain(values: NDArray[np.float32]) -> list[list[Any]]:
    return np.round(values.astype(np.float64), 5).T.tolist()


def _browser_video(images: NDArray[np.uint8], fps: float) -> bytes:
    """MP4 of h264 4:2:0, which browsers play; the data set's own 4:4:4 they do not."""
    scale = max(1, -(-_SMALLEST_SIDE // min(images.shape[1:3])))
    height, width = (2 * (side * scale // 2) for side in images.shape[1:3])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast", "g": "10"}
        for image in images:
            large = image.repeat(scale, axis=0).repeat(scale, axis=1)[:height, :width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(large), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()
