"""The studies of learning: every command is one, and a small one runs through and is not rerun."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from made import Made

from benchmarks import learning, results
from benchmarks.learning import Learning
from benchmarks.studies import PIPELINES, STUDIES
from foresee.cli import _parse
from foresee.train_commands import Train

QUICK = "planner: {samples: 16, iterations: 1, elites: 4, kept_elites: 2}\n"
TINY = "--encoder.width 8 --predictor.hidden 32 --batch 16 --loss.sigreg-projections 32"


@pytest.mark.parametrize(
    ("study", "env"),
    [("frames", "foresee/Push-v0"), ("robustness", "foresee/Push-v0")]
    + [("recipes", env) for env in PIPELINES],
)
def test_every_step_is_a_command(study: str, env: str, push: Made, tmp_path: Path) -> None:
    job = Learning(study, push.data, tmp_path, env=env, steps=40)
    for variant in STUDIES[study]:
        steps = learning.steps_of(job, variant)
        assert [step.name for step in steps][-1] == "eval"
        for step in steps:
            _parse(step.words)


def test_bundles_that_are_given_are_judged_and_not_trained(push: Made, tmp_path: Path) -> None:
    job = Learning("robustness", push.data, tmp_path, bundle=push.bundle, varied_bundle=push.bundle)
    steps = [learning.steps_of(job, variant) for variant in learning.variants_of(job)]
    assert [len(of_one) for of_one in steps] == [1] * 12  # nominal and five looks, for two
    assert {str(push.bundle)} == {of_one[0].words[4] for of_one in steps}


def test_more_frames_than_there_are_is_one_row(push: Made, tmp_path: Path) -> None:
    names = [v.name for v in learning.variants_of(Learning("frames", push.data, tmp_path))]
    assert names == ["ours"]


def test_the_recipes_differ_in_what_they_say_alone(push: Made, tmp_path: Path) -> None:
    job = Learning("recipes", push.data, tmp_path, steps=1200)
    found = {}
    for variant in learning.variants_of(job)[:3]:
        commands = [_parse(step.words) for step in learning.steps_of(job, variant)]
        found[variant.name] = [c.config for c in commands if isinstance(c, Train)]
    ours, lewm, vicreg = (found[name][0] for name in ("ours", "lewm", "vicreg-idm"))
    assert ours.steps == lewm.steps == vicreg.steps == 1200
    assert ours.batch == lewm.batch == vicreg.batch
    assert ours.encoder == lewm.encoder == vicreg.encoder
    assert (lewm.loss.sigreg_weight, lewm.loss.sigreg_projections) == (0.09, 1024)
    assert (lewm.loss.time_similarity_weight, lewm.loss.inverse_dynamics_weight) == (0, 0)
    assert (lewm.loss.rollout_steps, lewm.predictor.context) == (1, 3)
    assert (vicreg.loss.regularizer, vicreg.loss.rollout_steps) == ("vicreg", 8)
    assert (vicreg.loss.time_similarity_weight, vicreg.loss.inverse_dynamics_weight) == (12, 1)
    second = [configs[1] for configs in found.values()]
    assert {config.steps for config in second} == {500}
    assert len({config.loss for config in second}) == 1


def _study(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["learning", *arguments])
    return learning.main()


def test_a_small_study_runs_through_and_nothing_twice(
    push: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    agent, out, summary = (tmp_path / name for name in ("agent.yaml", "out", "robustness.json"))
    agent.write_text(QUICK)
    asked = ["--study", "robustness", "--data", str(push.data), "--out", str(out), "--steps", "12"]
    asked += ["--only", "ours", "ours-camera-2-cm", "--episodes", "2", "--agent", str(agent)]
    asked += [f"--options={TINY}", "--workers", "2", "--json", str(summary)]
    assert _study(asked, monkeypatch) == 0
    found = json.loads(summary.read_text())
    nominal, moved = found["rows"]
    assert set(nominal["cpu_s"]) == {"encoder", "predictor", "critic"}
    assert nominal["eval"]["floors"]["zero"]["success_rate"] == 0
    assert moved["eval"]["floors"] == {}
    assert moved["eval"]["randomization"]["camera_position_m"] == 0.02
    assert moved["eval"]["randomization"]["exact"] is True
    assert moved["eval"]["start_distance_m"] == nominal["eval"]["start_distance_m"]
    assert moved["eval"]["manifest_sha256"] == nominal["eval"]["manifest_sha256"]
    assert yaml.safe_load((out / "ours" / "agent.yaml").read_text())["planner"]["samples"] == 16
    page = results.page({"robustness": found})
    assert "| camera 2 cm | 0% | 0.0% – 65.8% | not judged |  | 2 |" in page
    assert "Floors: zero 0%" in page

    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    assert _study([*asked, "--dry-run"], monkeypatch) == 0
    assert "todo" not in capsys.readouterr().out
    assert _study(asked, monkeypatch) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.json")} == times
    assert _study([*asked, "--steps", "13"], monkeypatch) == 1
    assert "made by another command" in capsys.readouterr().err
    assert json.loads(summary.read_text()) == found  # nothing was overwritten
    recipes = found | {"study": "recipes", "rows": [nominal]}
    assert "**ours**: as the shipped bundle" in learning.section(recipes)
