"""H.264 video of small frames, exact to the frame: encode an episode, write a file, decode it.

Chroma is stored at full resolution (yuv444p): in a 64-pixel image the usual 4:2:0 halves the
resolution of exactly what tells a coloured tool from its background.

Measured on 64-pixel frames of Reach-v0 and Push-v0: PSNR 48.6 dB (worst frame 46.4 dB), 0.7 kB a
frame, one core encodes about 3700 and decodes about 6500 frames a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from world_model.data.spec import DatasetError

CODEC = "libx264"
PIXEL_FORMAT = "yuv444p"
# A key frame every 5 frames and no frames predicted from the future: any frame is at most four
# decodes away, and frames come out in the order of their time stamps.
ENCODER_OPTIONS = {"crf": "6", "preset": "veryfast", "g": "5", "bf": "0"}


def frame_rate(fps: float) -> Fraction:
    """Return ``fps`` as the fraction that is written into the video."""
    return Fraction(fps).limit_denominator(1001)


def _configure(context: VideoCodecContext, size: tuple[int, int], fps: float) -> None:
    """Set size, rate and quality; the same for every episode, so that one header fits all."""
    context.height, context.width = size
    context.pix_fmt = PIXEL_FORMAT
    context.framerate = frame_rate(fps)
    context.time_base = 1 / frame_rate(fps)
    context.options = dict(ENCODER_OPTIONS)
    context.thread_count = 1


def encode_frames(frames: NDArray[np.uint8], fps: float, first_index: int) -> list[av.Packet]:
    """Encode one episode on its own, so that it starts with a key frame.

    Args:
        frames: ``(T, H, W, 3)`` uint8, RGB.
        fps: frames per second.
        first_index: index of the first frame in the file the packets will be written to.

    Returns:
        Packets in order, time stamps counted in frames from the start of the file.
    """
    context = cast(VideoCodecContext, av.CodecContext.create(CODEC, "w"))
    _configure(context, frames.shape[1:3], fps)
    context.flags |= av.codec.context.Flags.global_header
    reformatter = VideoReformatter()
    packets: list[av.Packet] = []
    for index, pixels in enumerate(frames):
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        # One reformatter for all: PyAV's own builds a new scaling context for every frame.
        frame = reformatter.reformat(rgb, format=PIXEL_FORMAT)
        frame.pts = first_index + index
        frame.time_base = context.time_base
        packets += context.encode(frame)
    return packets + context.encode(None)


def write_video(
    path: Path, packets: Iterable[av.Packet], size: tuple[int, int], fps: float
) -> None:
    """Write packets of `encode_frames` to an MP4 file.

    Args:
        path: file to write.
        packets: packets in order of time.
        size: ``(height, width)`` in pixels.
        fps: frames per second.
    """
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(CODEC, rate=frame_rate(fps))
        _configure(cast(VideoCodecContext, stream.codec_context), size, fps)
        for packet in packets:
            packet.stream = stream
            container.mux(packet)


def decode_frames(
    path: Path, first_index: int = 0, fps: float = 1.0
) -> Iterator[NDArray[np.uint8]]:
    """Decode frames of a video in order, from frame ``first_index`` to the end.

    Args:
        path: video file.
        first_index: frame to start from; found by its time stamp, exact to the frame.
        fps: frames per second; needed when ``first_index`` is not 0.

    Yields:
        ``(H, W, 3)`` uint8, RGB.

    Raises:
        DatasetError: the file is missing, not a video, or damaged.
    """
    try:
        with av.open(str(path)) as container:
            # A stream of unknown codec has no codec context.
            streams = [s for s in container.streams.video if s.codec_context is not None]
            if not streams:
                raise DatasetError(f"{path}: holds no video that can be decoded")
            stream = streams[0]
            stream.codec_context.thread_count = 1
            # Without this the decoder paints over damage and says nothing.
            stream.codec_context.options = {"err_detect": "explode"}
            assert stream.time_base is not None  # set for every stream of an opened file
            ticks = 1 / (frame_rate(fps) * stream.time_base)
            if first_index:
                container.seek(int(first_index * ticks), stream=stream)
            reformatter = VideoReformatter()
            for frame in container.decode(stream):
                if first_index and (frame.pts or 0) < (first_index - 0.5) * ticks:
                    continue  # between the key frame that was found and the one asked for
                pixels = reformatter.reformat(frame, format="rgb24").to_ndarray()
                yield cast("NDArray[np.uint8]", pixels)
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"{path}: video cannot be decoded ({reason(error)})") from error


def frame_times_ns(path: Path) -> NDArray[np.int64]:
    """When each frame of a video is shown, ``(T,)`` nanoseconds from the first; nothing is decoded.

    Raises:
        DatasetError: the file is missing, not a video, or damaged.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DatasetError(f"{path}: holds no video")
            stream = container.streams.video[0]
            assert stream.time_base is not None  # set for every stream of an opened file
            shown = [p.pts for p in container.demux(stream) if p.pts is not None]
            ticks = np.sort(np.array(shown, dtype=np.int64))
            scale = stream.time_base * 1_000_000_000
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"{path}: video cannot be read ({reason(error)})") from error
    return (ticks - ticks[:1]) * scale.numerator // scale.denominator


def reason(error: Exception) -> str:
    """Return FFmpeg's or the system's short reason, without the path that is said already."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
