"""What the planner sees of a larger camera is, bit for bit, what an import makes of its images."""

from __future__ import annotations

import array
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage

from controller.goals import GoalConfig
from ros_nodes.convert import array_to_image, ns_to_stamp
from ros_nodes.image_fitter import ImageFitter
from ros_nodes.latest_images import LatestImages
from ros_nodes.resources import load_goal_images
from world_model.bundle import ModelSpec
from world_model.data.bag_export import mapping_of, write_bag
from world_model.data.build import build_episode
from world_model.data.importing import import_dataset, open_source
from world_model.data.mapping import Mapping
from world_model.data.plan import plan_recording
from world_model.data.settings import from_mapping
from world_model.data.spec import DatasetSpec, Episode
from world_model.data.video import encode_frames, write_video
from world_model.image_fit import Fit

LARGE, SMALL = (480, 640), (64, 64)
NS = 1_000_000_000
FRAMES = 6
STAMPS = NS + np.arange(FRAMES) * NS // 10


def model_spec(fit: Fit = "crop", size: tuple[int, int] = SMALL) -> ModelSpec:
    one = np.ones(1, np.float32)
    return ModelSpec({"scene": size}, (), ("v",), -one, one, 0.1, 2, (1, 4), {"scene": fit})


@pytest.fixture(scope="module")
def seen() -> NDArray[np.uint8]:
    """Frames of a camera: large shapes, fine stripes and noise, no two places alike."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(LARGE)
    stripes = 40 * ((columns // 3 + rows // 5) % 2)
    smooth = np.stack([rows // 4, columns // 5, (rows + columns) // 9], axis=2) + stripes[..., None]
    return (smooth + rng.integers(0, 80, (FRAMES, *LARGE, 3))).clip(0, 255).astype(np.uint8)


def in_a_bag(seen: NDArray[np.uint8], folder: Path) -> Path:
    spec = DatasetSpec(10.0, {"scene": LARGE}, (), ("v",), (-1.0,), (1.0,))
    numbers = np.zeros((FRAMES, 0), np.float32), np.zeros((FRAMES, 1), np.float32)
    write_bag(folder / "bag", Episode({"scene": seen}, *numbers, stamps_ns=STAMPS), spec)
    return folder / "bag"


def mapping(fit: Fit, size: tuple[int, int], topic: str = "/scene/image_raw") -> Mapping:
    values = {
        "rate_hz": 10,
        "cameras": {"scene": {"topic": topic, "size": list(size), "fit": fit}},
        "episodes": {"min_s": 0.2},
    }
    return from_mapping(Mapping, values, "import.yaml")


def imported(source: Path, mapping: Mapping) -> NDArray[np.uint8]:
    """The images of an import before they go through the video codec."""
    (recording,), _ = open_source(source, mapping, None, progress=False)
    streams = recording.index()
    (planned,) = plan_recording(mapping, streams, [], recording.name).episodes
    return build_episode(mapping, recording, streams, planned).images["scene"]


def shown(spec: ModelSpec, fitter: ImageFitter, messages: list) -> list[NDArray[np.uint8]]:
    """What the planner gets of messages."""
    latest = LatestImages(spec.cameras, 0, lambda name, pixels: fitter(spec, name, pixels))
    taken = []
    for message in messages:
        latest.put_frame("scene", message)
        frames, _ = latest.wait()
        taken.append(frames.images["scene"])
    return taken


@pytest.mark.parametrize(
    ("fit", "size", "told"),
    [
        ("crop", (64, 64), "camera scene: 640x480, cropped and scaled to 64x64 as on import"),
        ("stretch", (64, 64), "camera scene: 640x480, stretched and scaled to 64x64 as on import"),
        ("crop", (48, 64), "camera scene: 640x480, scaled to 64x48 as on import"),
        ("crop", (96, 64), "camera scene: 640x480, cropped and scaled to 64x96 as on import"),
        ("crop", (512, 512), "camera scene: 640x480, cropped and enlarged to 512x512 as on import"),
    ],
)
def test_a_live_image_is_what_an_import_of_the_bag_makes_of_it(
    seen: NDArray[np.uint8], tmp_path: Path, fit: Fit, size: tuple[int, int], told: str
) -> None:
    expected = imported(in_a_bag(seen, tmp_path), mapping(fit, size))
    assert expected.shape == (FRAMES, *size, 3)
    spec, said = model_spec(fit, size), []
    fitter = ImageFitter(said.append)
    messages = [array_to_image(p, int(s), "f") for p, s in zip(seen, STAMPS, strict=True)]
    np.testing.assert_array_equal(shown(spec, fitter, messages), expected)
    assert said == [told]  # once, not for every frame
    # Goals by topic and by file come the same way.
    latest = LatestImages(spec.cameras, 0, lambda name, pixels: fitter(spec, name, pixels))
    latest.put_goal("scene", messages[2])
    latest.put_frame("scene", messages[0])
    _, goal = latest.wait()
    np.testing.assert_array_equal(goal.images["scene"], expected[2])
    Picture.fromarray(seen[2]).save(tmp_path / "goal.png")
    read = load_goal_images(GoalConfig(image=str(tmp_path / "goal.png")), _Model(spec), fitter)
    np.testing.assert_array_equal(read["scene"], expected[2])
    assert said == [told]


def test_of_jpeg_images_and_videos_too(seen: NDArray[np.uint8], tmp_path: Path) -> None:
    stills = tmp_path / "take" / "scene"
    stills.mkdir(parents=True)
    messages = []
    for pixels, stamp in zip(seen, STAMPS, strict=True):
        file = io.BytesIO()
        Picture.fromarray(pixels).save(file, "jpeg")
        (stills / f"{stamp:019d}.jpg").write_bytes(file.getvalue())
        message = CompressedImage(format="jpeg", data=array.array("B", file.getvalue()))
        message.header.stamp = ns_to_stamp(int(stamp))
        messages.append(message)
    expected = imported(tmp_path / "take", mapping("crop", SMALL, "scene"))
    fitter = ImageFitter(lambda _: None)
    np.testing.assert_array_equal(shown(model_spec(), fitter, messages), expected)

    clip = tmp_path / "clip"
    clip.mkdir()
    coarse = np.ascontiguousarray(seen[:, ::2, ::2])
    write_video(clip / "scene.mp4", encode_frames(coarse, 10, 0), coarse.shape[1:3], 10)
    rows = "".join(f"{stamp}\n" for stamp in STAMPS)
    (clip / "scene.csv").write_text(f"stamp_ns\n{rows}")
    decoded = imported(clip, mapping("crop", coarse.shape[1:3], "scene"))
    assert decoded.shape == coarse.shape
    expected = imported(clip, mapping("crop", SMALL, "scene"))
    messages = [array_to_image(p, int(s), "f") for p, s in zip(decoded, STAMPS, strict=True)]
    np.testing.assert_array_equal(shown(model_spec(), fitter, messages), expected)


def test_an_image_of_the_right_size_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)  # as where Pillow is not there
    said = []
    fitter, pixels = ImageFitter(said.append), np.zeros((*SMALL, 3), np.uint8)
    assert fitter(model_spec(), "scene", pixels) is pixels
    assert fitter(model_spec(), "wrist", pixels[:3]) is not None  # not its camera
    assert said == []
    with pytest.raises(ValueError, match=r"64x32, cropped and enlarged .* pip install pillow"):
        fitter(model_spec(), "scene", pixels[:32])


def test_the_data_set_says_how_its_images_were_fitted(
    seen: NDArray[np.uint8], tmp_path: Path
) -> None:
    bag = in_a_bag(seen, tmp_path)
    report = import_dataset(bag, tmp_path / "set", mapping("stretch", SMALL), progress=False)
    assert report.frames == FRAMES
    (_, again) = open_source(tmp_path / "set", None, None, progress=False)
    assert again.cameras["scene"].fit == "stretch"  # what was bent stays known when copied
    assert mapping_of(again.spec()).cameras["scene"].fit == "stretch"


class _Model:
    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
