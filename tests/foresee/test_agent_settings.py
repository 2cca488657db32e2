"""Settings that come with a bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from made import Made

from controller.config import load_agent_config
from foresee.cli import main
from foresee.commands import BUNDLES, REACH
from world_model.bundle import agent_settings, open_bundle

SMALL = "planner: {samples: 8, elites: 4, iterations: 1}\n"
SMALLER = "planner: {samples: 6, elites: 4, iterations: 1}\n"


def _evaluated(tmp_path: Path, *options: str) -> dict[str, Any]:
    out = tmp_path / "eval.json"
    short = ["--episodes", "1", "--no-floors", "--workers", "1", "--json", str(out)]
    assert main(["eval", "--env", REACH, *short, *options]) == 0
    settings: dict[str, Any] = json.loads(out.read_text())["agent"]
    return settings


def test_settings_in_a_bundle_are_the_default_and_can_be_overruled(
    reach: Made, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(reach.bundle, bundle)
    (bundle / "agent.yaml").write_text(SMALL)
    other = tmp_path / "other.yaml"
    other.write_text(SMALLER)
    given = ("--bundle", str(bundle))
    assert _evaluated(tmp_path, *given)["planner"]["samples"] == 8
    assert _evaluated(tmp_path, *given, "--agent", str(other))["planner"]["samples"] == 6


def test_export_puts_settings_into_the_bundle(reach: Made, tmp_path: Path) -> None:
    settings, out = tmp_path / "push.yaml", tmp_path / "bundle"
    settings.write_text(SMALL)
    made = ["--checkpoint", str(reach.run), "--data", str(reach.data), "--out", str(out)]
    assert main(["export", *made, "--agent", str(settings)]) == 0
    assert open_bundle(out).path == out
    file = agent_settings(out)
    assert file is not None
    assert load_agent_config(file).planner.samples == 8
    settings.write_text("planner: {samplse: 8}\n")
    assert main(["export", *made, "--overwrite", "--agent", str(settings)]) == 2
    assert load_agent_config(file).planner.samples == 8  # nothing was touched


@pytest.mark.parametrize("bundle", sorted(BUNDLES.glob("*")), ids=lambda path: path.name)
def test_what_is_shipped_can_be_read(bundle: Path) -> None:
    open_bundle(bundle)
    file = agent_settings(bundle)
    assert file is None or load_agent_config(file).planner.samples > 0
