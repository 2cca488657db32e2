"""The mapping says what is wrong with it, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded import CONFIG, mapping

from world_model.data import DatasetError
from world_model.data.mapping import Mapping
from world_model.data.settings import load_settings
from world_model.data.units import doubt

ROOT = Path(__file__).parents[3]


def test_the_mapping_that_is_shipped_fits_what_the_recorder_records() -> None:
    shipped = load_settings(Mapping, ROOT / "config/import.yaml")
    spec = shipped.spec()
    assert len(spec.proprio_names) == 17
    assert spec.proprio_names[0] == "panda_joint1.position"
    assert spec.action_names == ("tool.vx", "tool.vy", "tool.vz")
    assert spec.action_high == (0.25, 0.25, 0.25)
    from ros_nodes.params import RecorderParameters

    recorded = {f"/{topic.lstrip('/')}" for topic in RecorderParameters().topics}
    assert {source.topic for source in shipped.sources().values()} <= recorded
    # And what its comments name for other robots.
    others = {"/command_node/applied", "/scene/image_raw/compressed"}
    text = (ROOT / "config/import.yaml").read_text()
    assert others <= recorded
    assert all(topic in text for topic in others)


def test_units_and_limits_become_si() -> None:
    action = {"topic": "/c", "fields": {"w": "data[0]"}, "unit": "deg/s", "limits": [-90, 180]}
    spec = mapping(actions=[action]).spec()
    assert spec.action_low == (pytest.approx(-1.5707963),)
    assert spec.action_high == (pytest.approx(3.1415927),)
    by_name = {**action, "limits": {"w": [-1, 1]}}
    assert mapping(actions=[by_name]).spec().action_low == (pytest.approx(-0.0174533),)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate": 5}, "import.yaml: unknown setting 'rate'; did you mean 'rate_hz'?"),
        ({"rate_hz": "fast"}, "rate_hz must be a number, not 'fast'"),
        ({"rate_hz": 0}, "fps must be a positive number"),
        ({"cameras": {}}, "at least one camera"),
        ({"cameras": {"c": {"topc": "/a", "size": [16, 16]}}}, "cameras.c: unknown setting 'topc'"),
        ({"cameras": {"c": {"topic": "/a"}}}, "cameras.c: setting 'size' is missing"),
        ({"cameras": {"c": {"topic": "/a", "size": [64]}}}, "size must hold 2 values"),
        ({"cameras": {"c": {"topic": "/a", "size": [8, 8]}}}, "below 16 pixels"),
        ({"cameras": {"c": {"topic": "/a", "size": [16, 16], "fit": "pad"}}}, "crop, stretch"),
        ({"proprio": [{"topic": "/j"}]}, "proprio[0]: /j: give either fields or joints"),
        ({"proprio": [{"topic": "/j", "joints": ["a"], "unit": "grad"}]}, "unit 'grad' is not one"),
        ({"actions": [{**CONFIG["actions"][0], "limits": [1, -1]}]}, "the wrong way round"),
        (
            {"actions": [{**CONFIG["actions"][0], "limits": {"w": [0, 1]}}]},
            "limits of 'v' are miss",
        ),
        ({"actions": [{**CONFIG["actions"][0], "silent": "zero"}]}, "silent: zero needs hold_s"),
        ({"episodes": {"min_s": -1}}, "episodes: min_s must be at least 0"),
        ({"episodes": {"duration_s": 0}}, "duration_s must be above 0"),
        ({"episodes": {"every_image": "yes"}}, "every_image must be true or false"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change: dict, said: str) -> None:
    with pytest.raises(DatasetError) as error:
        mapping(**change)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_mapping(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none.yaml: cannot be read \(No such file"):
        load_settings(Mapping, tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("rate_hz: [\n")
    with pytest.raises(DatasetError, match=r"broken.yaml: not a YAML file"):
        load_settings(Mapping, broken)


@pytest.mark.parametrize(
    ("unit", "low", "high", "likelier"),
    [
        ("rad", -3.1, 3.1, None),
        ("rad", -170.0, 20.0, "deg"),
        ("deg", -2.9, 2.9, None),  # in SI: these are 166 degrees
        ("deg", -0.05, 0.05, "rad"),  # in SI: 2.9 "degrees" are likelier radians
        ("m", 0.0, 600.0, "mm"),
        ("mm", 0.0001, 0.0006, "m"),
        ("1", -1e6, 1e6, None),
    ],
)
def test_units_are_doubted_by_their_size(
    unit: str, low: float, high: float, likelier: str | None
) -> None:
    line = doubt("x", unit, low, high)
    assert (line is None) == (likelier is None)
    if line is not None:
        assert f"looks like {likelier}, not {unit}" in line
