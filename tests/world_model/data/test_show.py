"""Pictures, page and MCAP of a data set show what is in it."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import av
import numpy as np
from blobs import psnr
from PIL import Image

from world_model.data import open_dataset
from world_model.data.bags import read_bag
from world_model.data.findings import Finding
from world_model.data.mcap import write_mcap
from world_model.data.page import write_page
from world_model.data.show import contact_sheet, plots, spread


def test_contact_sheet_and_plots(written: Path, tmp_path: Path) -> None:
    dataset = open_dataset(written)
    contact_sheet(dataset, [0, 5], tmp_path / "contact.png")
    sheet = Image.open(tmp_path / "contact.png")
    assert sheet.size == (8 * 128, 2 * (128 + 14))
    last = np.asarray(sheet)[142 + 14 : 142 + 142, 7 * 128 :]
    true = dataset.episode(5).images["scene"][-1].repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(last[40:], true[40:])  # the number is in the corner
    plots(dataset, [0, 5], tmp_path / "plots.png")
    assert np.asarray(Image.open(tmp_path / "plots.png")).std() > 5
    assert spread(100, 3) == [0, 50, 99]
    assert spread(2, 12) == [0, 1]


def test_the_page_holds_videos_curves_and_findings(written: Path, tmp_path: Path) -> None:
    dataset = open_dataset(written)
    finding = Finding("warning", "gap", "f", (5,), 3, "</script> a gap", "mend it")
    write_page(dataset, [0, 5], [finding], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "http" not in text  # nothing is loaded from elsewhere
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    data = json.loads(found)
    assert [episode["index"] for episode in data["episodes"]] == [0, 5]
    assert data["episodes"][0]["findings"] == []
    assert data["episodes"][1]["findings"] == [finding.line()]
    episode = dataset.episode(5)
    shown = data["episodes"][1]
    np.testing.assert_allclose(np.array(shown["proprio"]).T, episode.proprio, atol=1e-5)
    np.testing.assert_allclose(np.array(shown["actions"]).T, episode.actions, atol=1e-5)
    with av.open(io.BytesIO(base64.b64decode(shown["videos"]["scene"]))) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 25
    large = episode.images["scene"].repeat(8, axis=1).repeat(8, axis=2)
    assert psnr(np.stack(frames), large) > 30


def test_mcap_is_read_back(written: Path, tmp_path: Path) -> None:
    dataset = open_dataset(written)
    write_mcap(dataset, [1, 3], tmp_path / "set.mcap")
    messages = list(read_bag(tmp_path / "set.mcap"))
    first, second = dataset.episode(1), dataset.episode(3)
    numbers = [m for m in messages if m.topic == "/action"]
    assert list(numbers[0].message.name) == ["blob.vx", "blob.vy"]
    seen = np.stack([m.message.position for m in numbers])
    np.testing.assert_array_equal(seen, np.concatenate([first.actions, second.actions]))
    last = [m for m in messages if m.topic == "/scene/image_raw"][-1].message
    np.testing.assert_array_equal(last.data.reshape(32, 32, 3), second.images["scene"][-1])
    steps = np.diff([m.stamp_ns for m in numbers])
    assert set(steps.tolist()) == {100_000_000, 1_000_000_000}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.mcap"]
