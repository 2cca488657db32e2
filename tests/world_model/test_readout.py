from __future__ import annotations

import numpy as np
import pytest

from world_model.decoder import fit_decoder, fit_network, small_size
from world_model.readout import encode_all, fit_linear, judge, quantities

RNG = np.random.default_rng(0)
NAMES = ("arm.position", "arm.velocity", "tool.x", "tool.z", "block.yaw")


def _values(count: int) -> np.ndarray:
    return np.stack(
        [
            RNG.uniform(-1, 1, count),
            RNG.normal(size=count),
            RNG.uniform(0.3, 0.6, count),
            np.full(count, 0.03),  # stays at one height
            RNG.uniform(-np.pi, np.pi, count),
        ],
        axis=1,
    ).astype(np.float32)


def test_what_one_frame_cannot_show_is_not_looked_for() -> None:
    titles = [q.title for q in quantities(NAMES, _values(100))]
    assert titles == ["arm.position", "tool.x", "block.yaw mod 360°", "block.yaw mod 90°"]


def test_a_probe_finds_what_is_there_and_not_what_is_not() -> None:
    values = _values(2000)
    wanted = quantities(NAMES, values)
    quarter = 4 * values[:, 4:]
    latents = np.concatenate([values[:, 2:3], np.cos(quarter), np.sin(quarter)], axis=1)
    latents = latents @ RNG.normal(size=(3, 6))
    fitted = fit_linear(latents[:1000], encode_all(wanted, values[:1000]), ridge=1e-9)
    found = judge(fitted, wanted, latents[1000:], values[1000:])
    scores = dict(zip([q.title for q in wanted], found, strict=True))
    assert scores["tool.x"].r2 > 0.999
    assert scores["tool.x"].p95 < 1e-3
    assert scores["block.yaw mod 90°"].r2 > 0.999
    assert scores["block.yaw mod 90°"].p95 < 0.01
    assert scores["block.yaw mod 360°"].r2 < 0.1  # a cube looks the same after a quarter turn
    assert scores["arm.position"].r2 < 0.1


def test_the_error_of_an_angle_goes_the_short_way_round() -> None:
    values = np.array([[np.pi - 0.1]])
    (whole, quarter) = quantities(("yaw",), np.array([[0.0], [3.0]]))
    read = whole.encode(np.array([[-np.pi + 0.1]]))
    assert whole.error(read, values) == pytest.approx([0.2])
    read = quarter.encode(np.array([[np.pi / 2 - 0.05]]))
    assert quarter.error(read, values) == pytest.approx([0.05])


def test_the_network_reads_what_a_line_cannot() -> None:
    angle = RNG.uniform(-3, 3, 1500)
    latents = np.stack([np.cos(angle), np.sin(angle)], 1)
    values = np.abs(angle)[:, None].astype(np.float32)
    wanted = quantities(("tool.x",), values)
    network = fit_network(latents[:1000], values[:1000], steps=200, hidden=32, progress=False)
    again = fit_network(latents[:1000], values[:1000], steps=200, hidden=32, progress=False)
    (bent,) = judge(network, wanted, latents[1000:], values[1000:])
    assert bent.r2 > 0.98
    np.testing.assert_array_equal(network(latents[1000:]), again(latents[1000:]))


def test_the_decoder_draws_what_moves() -> None:
    """A white square that goes from left to right, drawn from one number that says where it is."""
    place = RNG.integers(0, 12, 400)
    frames = np.zeros((400, 16, 16, 3), np.uint8)
    for frame, left in zip(frames, place, strict=True):
        frame[6:10, left : left + 4] = 255
    latents = np.stack([np.sin(k * np.pi * place / 12) for k in (0.5, 1, 2, 3)], 1)
    rows = np.arange(300)
    decoder = fit_decoder(latents[:300], frames, rows, steps=80, progress=False)
    drawn = decoder(latents[300:]).astype(float)
    error = np.abs(drawn - frames[300:]).mean()
    floor = np.abs(frames[:300].mean(0) - frames[300:]).mean()
    assert drawn.shape == (100, 16, 16, 3)
    assert error < 0.5 * floor


@pytest.mark.parametrize(
    ("given", "drawn"), [((64, 64), (64, 64)), ((480, 640), (48, 64)), ((32, 48), (32, 48))]
)
def test_large_cameras_are_drawn_small(given: tuple[int, int], drawn: tuple[int, int]) -> None:
    assert small_size(*given) == drawn
