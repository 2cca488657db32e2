"""`foresee data record`: real nodes, a robot that moves, a bag that imports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from foresee.cli import main
from world_model.data import open_dataset

ROOT = Path(__file__).parents[2]


def test_records_a_robot_that_moves_about(tmp_path: Path) -> None:
    bag, data = tmp_path / "bags" / "sim", tmp_path / "data"
    summary = tmp_path / "summary.json"
    options = ["--out", str(bag), "--minutes", "0.15", "--cameras", "scene", "front"]
    assert main(["data", "record", *options, "--json", str(summary)]) == 0
    assert json.loads(summary.read_text())["seconds"] >= 9.0
    assert sorted(path.name for path in bag.parent.iterdir()) == ["sim"]  # no logs left behind

    mapping = yaml.safe_load((ROOT / "config/import.yaml").read_text())
    mapping["cameras"]["front"] = {"topic": "/front/image_raw", "size": [64, 64]}
    # Half the frames: a loaded machine does not render all of them.
    config = tmp_path / "import.yaml"
    config.write_text(yaml.safe_dump(mapping | {"rate_hz": 2, "episodes": {"min_s": 1.0}}))
    assert main(["data", "import", str(bag), "--config", str(config), "--out", str(data)]) == 0
    dataset = open_dataset(data)
    tool_m = np.concatenate([dataset.episode(i).proprio[:, -3:] for i in range(len(dataset))])
    assert np.ptp(tool_m, axis=0).max() > 0.05

    assert main(["data", "record", *options]) == 2  # a bag is never written over


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--minutes", "0"], "above 0"),
        (["--cameras", "side"], "scene, front"),
        (["--env", "foresee/TwoRooms-v0"], "foresee collect"),
        (["--env", "foresee/PickPlace-v0"], "foresee collect"),
        (["--image-rate-hz", "1000"], "image_rate_hz"),
    ],
)
def test_refuses_in_one_line(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "record", "--out", str(tmp_path / "bag"), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "bag").exists()
