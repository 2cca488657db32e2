"""Frames come back at their place, and bright as they were."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from blobs import blob_episode, psnr

from world_model.data import DatasetError
from world_model.data.video import decode_frames, encode_frames, write_video

FPS = 10.0


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A file of three episodes of uneven length, and the frames that went in."""
    path = tmp_path_factory.mktemp("video") / "x.mp4"
    episodes = [blob_episode(seed, length).images["scene"] for seed, length in ((0, 13), (1, 7))]
    episodes.append(blob_episode(2, 31).images["scene"])
    packets, first = [], 0
    for frames in episodes:
        packets += encode_frames(frames, FPS, first)
        first += len(frames)
    write_video(path, packets, (32, 32), FPS)
    return path, np.concatenate(episodes)


def test_every_frame_in_order(video: tuple[Path, np.ndarray]) -> None:
    path, true = video
    seen = np.stack(list(decode_frames(path)))
    assert seen.shape == true.shape
    assert psnr(seen, true) > 38


@pytest.mark.parametrize("first", [1, 4, 5, 12, 13, 19, 20, 33, 50])
def test_seeking_is_exact(video: tuple[Path, np.ndarray], first: int) -> None:
    path, _ = video
    expected = list(decode_frames(path))[first:]
    np.testing.assert_array_equal(np.stack(list(decode_frames(path, first, FPS))), expected)


def test_colours_keep_their_levels(tmp_path: Path) -> None:
    # Red, green, blue, black, white, grey: a wrong matrix or range shifts them by 5 or more.
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255), (128, 128, 128)]
    frames = np.zeros((6, 16, 16, 3), np.uint8)
    for frame, colour in zip(frames, colours, strict=True):
        frame[:] = colour
    write_video(tmp_path / "x.mp4", encode_frames(frames, FPS, 0), (16, 16), FPS)
    seen = np.stack(list(decode_frames(tmp_path / "x.mp4"))).astype(int)
    assert np.abs(seen - frames).max() <= 3


def test_single_pixel_colour_survives(tmp_path: Path) -> None:
    # Alternating red and blue columns: with chroma at half resolution both become purple.
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    frames[:, :, ::2, 0] = 200
    frames[:, :, 1::2, 2] = 200
    write_video(tmp_path / "x.mp4", encode_frames(frames, FPS, 0), (16, 16), FPS)
    seen = np.stack(list(decode_frames(tmp_path / "x.mp4"))).astype(int)
    assert np.abs(seen - frames).max() < 40


def test_no_frame_is_predicted_from_the_future(video: tuple[Path, np.ndarray]) -> None:
    with av.open(str(video[0])) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
    assert [p.pts for p in packets] == [p.dts for p in packets]
    keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    assert {0, 13, 20} <= set(keys)  # each episode starts with one
    assert max(np.diff([*keys, len(packets)])) <= 5


@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_what_is_no_video_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"x.mp4: video cannot be decoded") as error:
        list(decode_frames(path))
    assert "\n" not in str(error.value)
