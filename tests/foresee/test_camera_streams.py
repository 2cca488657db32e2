"""ROS 2 to MCAP to data set to training to bundle, by the commands that docs/data.md names."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fast_robot import CAMERAS, Truth, record_fast

from foresee.cli import main
from ros_nodes.graph import Graph, NodeSpec
from ros_nodes.params import RecorderParameters, SimParameters
from world_model.data import open_dataset
from world_model.runtime import load_world_model

ROOT = Path(__file__).parents[2]
RATE_HZ = 2.5


def _config(folder: Path, **changes: Any) -> Path:
    """The mapping that is shipped, with the second camera that its comment offers."""
    mapping = yaml.safe_load((ROOT / "config/import.yaml").read_text())
    front = {"topic": "/front/image_raw", "size": [64, 64], "fit": "stretch"}
    mapping["cameras"]["front"] = front
    path = folder / "import.yaml"
    path.write_text(yaml.safe_dump(mapping | changes, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """Two minutes of two cameras, recorded by the real recorder."""
    return record_fast(tmp_path_factory.mktemp("recorded"), seconds=120.0, rate_hz=RATE_HZ)


def test_two_minutes_of_two_cameras_become_a_bundle(
    recorded: tuple[Path, Truth], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, truth = recorded
    data, run, bundle = tmp_path / "data", tmp_path / "run", tmp_path / "bundle"
    summary = tmp_path / "import.json"
    config = _config(tmp_path, rate_hz=RATE_HZ)
    options = ["--config", str(config), "--out", str(data), "--json", str(summary)]
    assert main(["data", "import", str(bag), *options]) == 0
    assert "camera front: " in capsys.readouterr().out
    report = json.loads(summary.read_text())
    assert report["warnings"] == []
    assert report["frames"] > 0.8 * 120 * RATE_HZ  # less what a loaded machine does not record
    _compare(data, truth)

    tiny = ["--encoder.width", "8", "--predictor.hidden", "32", "--batch", "16", "--threads", "1"]
    tiny += ["--loss.sigreg-projections", "32", "--validate-every", "1000", "--steps", "10"]
    assert main(["train", "--data", str(data), "--out", str(run), *tiny]) == 0
    export = ["export", "--checkpoint", str(run), "--data", str(data), "--out", str(bundle)]
    assert main(export) == 0
    spec = load_world_model(bundle).spec
    assert dict(spec.cameras) == dict.fromkeys(CAMERAS, (64, 64))
    assert dict(spec.fits) == {"scene": "crop", "front": "stretch"}  # what a robot is to do
    assert spec.action_names == ("tool.vx", "tool.vy", "tool.vz")

    bags, back = tmp_path / "bags", tmp_path / "back"
    some = ["--format", "mcap", "--episodes", "1-2"]
    assert main(["data", "export", str(data), "--out", str(bags), *some]) == 0
    again = ["--config", str(bags / "import.yaml"), "--out", str(back)]
    assert main(["data", "import", str(bags), *again]) == 0
    _compare(back, truth)
    assert open_dataset(back).spec.fits == {"scene": "crop", "front": "stretch"}


def _compare(path: Path, truth: Truth) -> None:
    """Every frame is the one that was taken at its stamp, with the numbers of that instant."""
    dataset = open_dataset(path)
    for index in range(len(dataset)):
        episode = dataset.episode(index)
        stamps = episode.stamps_ns.tolist()
        tool_m = np.stack([truth.tool_m[stamp] for stamp in stamps])
        np.testing.assert_allclose(episode.proprio[:, -3:], tool_m, atol=1e-6)
        velocity = np.stack([truth.velocity_m_s[stamp] for stamp in stamps])
        np.testing.assert_allclose(episode.actions, velocity, atol=1e-6)
        for camera in CAMERAS:
            taken = np.stack([truth.images[stamp][camera] for stamp in stamps]).astype(float)
            assert np.abs(episode.images[camera] - taken).mean() < 2.0


def test_sim_node_publishes_the_cameras_it_is_told(tmp_path: Path) -> None:
    nodes = [
        NodeSpec("recorder_node", RecorderParameters(path=str(tmp_path / "bag"))),
        NodeSpec("sim_node", SimParameters(cameras=CAMERAS)),
    ]
    with Graph(nodes, tmp_path) as graph:
        graph.wait_ready()
        time.sleep(4.0)
        assert set(graph.stop().values()) == {0}
    # Two frames a second: what a loaded machine renders of the ten.
    config = _config(tmp_path, rate_hz=2, actions=[], episodes={"min_s": 0.5})
    options = ["--config", str(config), "--out", str(tmp_path / "data")]
    assert main(["data", "import", str(tmp_path / "bag"), *options]) == 0
    episode = open_dataset(tmp_path / "data").episode(0)
    difference = np.abs(episode.images["scene"].astype(float) - episode.images["front"])
    assert difference.mean() > 10  # two views, not one twice
