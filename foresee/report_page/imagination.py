"""What the model imagines, drawn by a small decoder, beside what happened."""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from foresee.report_page.material import Data, Material, flat, spread_out
from foresee.report_page.neighbours import show
from foresee.report_page.page import WIDTH, Ink, Section, figures, missing, paragraph, picture

TITLE = "What it imagines, beside what happened"
_CLIPS = 4
_COLUMNS = 5

Images = NDArray[np.uint8]


def section(material: Material) -> Section:
    """Rollouts as pictures: what the camera saw, and the decoder's view of both latents."""
    data = material.data
    if data is None:
        return missing("imagination", TITLE, "Left out: give a data set with `--data`.")
    try:
        from world_model.decoder import fit_decoder
    except ModuleNotFoundError:
        how = "Left out: the decoder needs torch (in the checkout, pip install -e '.[train]')."
        return missing("imagination", TITLE, how)
    camera, steps = next(iter(material.bundle.spec.cameras)), material.decoder_steps
    frames = data.held.cache.images[camera]
    decoder = fit_decoder(
        flat(data.fit.latents), frames, data.fit.frames, steps, material.seed, material.progress
    )
    clips = _chosen(data)
    shown = np.linspace(0, data.horizon, _COLUMNS).round().astype(int)
    strips = {}
    for clip in clips:
        rows = data.imagined.now[clip] + shown
        imagined = np.concatenate(
            [data.held.latents[rows[:1]], data.imagined.latents[clip][shown[1:] - 1]]
        )
        strips[clip] = (
            decoder.small(np.asarray(frames[data.held.frames[rows]])),
            decoder(flat(data.held.latents[rows])),
            decoder(flat(imagined)),
        )
    judged = np.linspace(0, len(data.held.frames) - 1, min(len(data.held.frames), 400)).astype(int)
    truth = decoder.small(np.asarray(frames[data.held.frames[judged]])).astype(np.float64)
    error = np.abs(decoder(flat(data.held.latents[judged])) - truth).mean() / 255
    floor = np.abs(truth.mean(0) - truth).mean() / 255
    body = paragraph(
        f"For looking only: a decoder trained just now ({steps} steps on latents and images of "
        f"{len(data.fit.frames)} training frames, camera {camera}). The model itself never draws a "
        "pixel, and nothing is planned with these. First row: what the camera saw. Second: the "
        "decoder on the latents of those frames, so what it misses there is lost by the encoder "
        "or by the decoder. Third: the decoder on what the model imagined from the first frame "
        "and the actions alone: what differs from the second row is the predictor's error."
    )
    body += paragraph(
        f"Held-out frames: mean absolute pixel error {error:.4f} of full scale; of always drawing "
        f"the mean image {floor:.4f}.",
        "soft",
    )
    step_s = material.model.spec.model_dt_s
    body += figures(
        *(
            picture(
                partial(_figure, strip=strips[clip], shown=shown),
                _words(data, clip, step_s),
            )
            for clip in clips
        )
    )
    return Section(
        "imagination",
        TITLE,
        body,
        {"pixel_error": float(error), "mean_image_error": float(floor), "steps": steps},
    )


def _chosen(data: Data) -> list[int]:
    """Held-out clips in which most happens: objects pushed furthest, else latents moved most."""
    moved = data.imagined.copy[:, -1]
    if data.objects:
        moved = np.max([data.moved(owner)[:, -1] for owner in data.objects], axis=0)
    return spread_out(moved.tolist(), _CLIPS, data.imagined.episodes)


def _words(data: Data, clip: int, step_s: float) -> str:
    words = f"Episode {data.imagined.episodes[clip]}, {data.horizon * step_s:.1f} s"
    for owner in data.objects:
        words += f", the {owner} moved {100 * data.moved(owner)[clip, -1]:.1f} cm"
    ratio = data.imagined.energies[clip, -1] / max(data.imagined.copy[clip, -1], 1e-12)
    return f"{words}; energy at the end {ratio:.3f} of that of nothing changing."


def _figure(ink: Ink, strip: tuple[Images, Images, Images], shown: NDArray[np.int64]) -> Figure:
    height, width = strip[0].shape[1:3]
    tile = WIDTH / (len(shown) + 0.45)
    figure, grid = plt.subplots(
        3,
        len(shown),
        figsize=(WIDTH, 3 * tile * height / width + 0.35),
    )
    figure.subplots_adjust(0.055, 0.01, 0.995, 0.94, 0.06, 0.06)
    for row, (name, images) in enumerate(
        zip(("camera", "decoded", "imagined"), strip, strict=True)
    ):
        for column, image in enumerate(images):
            title = ("now" if not shown[column] else f"+{shown[column]}") if row == 0 else ""
            show(grid[row, column], image, title)
        grid[row, 0].set_ylabel(name, fontsize=8.5)
    return figure
