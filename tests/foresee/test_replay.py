"""Plans of a log once more, bit for bit; and what is said when they cannot be the same."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from controller.agent import Agent
from controller.config import AgentConfig, CostConfig, MemoryConfig, PlannerConfig
from controller.episodic import EpisodicMemory
from controller.limits import GuardrailConfig, Range
from controller.record import PlanRecord
from controller.types import Observation, PlanStatus
from foresee.cli import main
from foresee.commands import REACH, shipped_bundle
from foresee.replay import differing_parts, replay
from ros_nodes.plan_log import PlanLog, PlanLogError, read_plan_log, setup_of, this_machine
from world_model.bundle import MANIFEST
from world_model.runtime import load_world_model

BUNDLE = shipped_bundle(REACH)
PLANNER = PlannerConfig(horizon=6, knots=3, samples=64, elites=8, iterations=8)
STEP_NS = 100_000_000


def make_plans(
    path: Path,
    config: AgentConfig,
    count: int = 12,
    bundle: Path = BUNDLE,
    memory: Path | None = None,
) -> list[PlanRecord]:
    """Plans of an agent that sees noise, logged; returns what went into the log."""
    model = load_world_model(bundle)
    remembered = None
    if memory is not None:
        remembered = EpisodicMemory.open(memory, model.spec, "test", 1000)
    agent = Agent(model, config, remembered)
    rng = np.random.default_rng(0)
    records: list[PlanRecord] = []
    log = PlanLog(path)
    log.setup(setup_of(config, str(bundle), "cpu", "fp32", 1))

    def write(record: PlanRecord) -> None:
        records.append(record)
        log.write(record)

    agent.log = write
    agent.set_goal({"scene": rng.integers(0, 255, (64, 64, 3), np.uint8)}, "noise")
    for step in range(count):
        images = {"scene": rng.integers(0, 255, (64, 64, 3), np.uint8)}
        readings = rng.normal(0, 0.1, 17).astype(np.float32)
        agent.step(Observation(step * STEP_NS, images, readings))
    log.close()
    return records


def test_plans_cut_by_a_deadline_are_made_again(tmp_path: Path) -> None:
    log = tmp_path / "plans.mcap"
    planner = dataclasses.replace(PLANNER, iterations=200)
    records = make_plans(log, AgentConfig(planner, deadline_s=0.004, latency_steps=1))
    cut = [record.plan.effort.iterations for record in records]
    assert min(cut) < planner.iterations  # time did decide
    summary = replay(log, progress=False)
    assert (summary["identical"], summary["plans"]) == (len(records), len(records))
    assert summary["changed"] == []
    assert not summary["failed"]


def test_what_memory_offered_is_in_the_log(tmp_path: Path) -> None:
    memory = MemoryConfig(str(tmp_path / "memory"), candidates=3, subgoal_steps=1)
    config = AgentConfig(PLANNER, memory=memory, deadline_s=None)
    records = make_plans(tmp_path / "plans.mcap", config, memory=tmp_path / "memory")
    assert records[-1].inputs.candidates is not None
    shutil.rmtree(tmp_path / "memory")
    summary = replay(tmp_path / "plans.mcap", progress=False)
    assert summary["identical"] == len(records)


def test_what_guardrails_said_is_in_the_log_and_made_again(tmp_path: Path) -> None:
    limits = {"tool.x": Range(high=-0.1), "tool.y": Range(-9.0, 9.0)}
    config = AgentConfig(PLANNER, guardrails=GuardrailConfig(limits), deadline_s=None)
    records = make_plans(tmp_path / "plans.mcap", config, 3)
    for logged, record in zip(read_plan_log(tmp_path / "plans.mcap"), records, strict=True):
        assert logged.record.plan.violations == record.plan.violations
        assert set(record.plan.violations) == {"readings.tool.x", "readings.tool.y"}
    assert any(record.plan.status is PlanStatus.LEAST_VIOLATION for record in records)
    assert replay(tmp_path / "plans.mcap", progress=False)["identical"] == 3
    told = dataclasses.replace(record.plan, violations={"readings.tool.x": 9.0})
    assert differing_parts(told, record.plan) == ["violations"]
    # A log of before they were in it.
    assert differing_parts(dataclasses.replace(told, violations={}), record.plan) == []


def test_every_input_comes_back_as_it_was(tmp_path: Path) -> None:
    records = make_plans(tmp_path / "plans.mcap", AgentConfig(PLANNER, deadline_s=None), 3)
    # A warm start that was damaged in memory is found damaged again.
    broken = records[-1].inputs.warm_start
    assert broken is not None
    object.__setattr__(broken, "checksum", 0)
    log = PlanLog(tmp_path / "again.mcap")
    log.setup(setup_of(AgentConfig(PLANNER), str(BUNDLE), "cpu", "fp32", 1))
    for record in records:
        log.write(record)
    log.close()
    log.close()
    for logged, record in zip(read_plan_log(tmp_path / "again.mcap"), records, strict=True):
        assert differing_parts(logged.record.plan, record.plan) == []
        assert logged.record.inputs.goal.source == "noise"
        assert logged.record.inputs.seed == record.inputs.seed
        np.testing.assert_array_equal(
            logged.record.inputs.state.latents, record.inputs.state.latents
        )
    assert logged.record.inputs.warm_start is not None
    assert not logged.record.inputs.warm_start.intact


def test_another_model_is_named_as_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLE, bundle)
    log = tmp_path / "plans.mcap"
    make_plans(log, AgentConfig(PLANNER, deadline_s=None), 2, bundle)
    shutil.rmtree(bundle)
    assert main(["replay", str(log)]) == 2
    assert "--bundle" in capsys.readouterr().err
    manifest = json.loads((BUNDLE / MANIFEST).read_text())
    shutil.copytree(BUNDLE, bundle)
    (bundle / MANIFEST).write_text(json.dumps(manifest | {"robot_type": "other"}))
    summary = replay(log, progress=False)
    assert any("is not the one that was planned with" in line for line in summary["changed"])
    assert summary["identical"] == 2  # only its manifest differs
    assert main(["replay", str(log), "--bundle", str(BUNDLE)]) == 0
    assert "2 of 2 plans are the same bit for bit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda r: dataclasses.replace(
                r, observation=dataclasses.replace(r.observation, images=_other(r))
            ),
            "input latents: the newest frame is encoded differently",
        ),
        (
            lambda r: dataclasses.replace(
                r,
                observation=dataclasses.replace(
                    r.observation, proprio=r.observation.proprio + np.float32(1)
                ),
            ),
            "input proprio: the newest readings are others",
        ),
        (
            lambda r: dataclasses.replace(r, inputs=dataclasses.replace(r.inputs, seed=(9, 9))),
            "knots",
        ),
        (
            lambda r: dataclasses.replace(
                r, plan=dataclasses.replace(r.plan, status=PlanStatus.BEST_SO_FAR)
            ),
            "status",
        ),
    ],
)
def test_what_differs_is_named(tmp_path: Path, change, said: str) -> None:
    config = AgentConfig(PLANNER, deadline_s=None)
    records = make_plans(tmp_path / "plans.mcap", config, 3)
    log = PlanLog(tmp_path / "changed.mcap")
    log.setup(setup_of(config, str(BUNDLE), "cpu", "fp32", 1))
    log.write(records[0])
    log.write(change(records[1]))
    log.close()
    summary = replay(tmp_path / "changed.mcap", progress=False)
    assert (summary["identical"], summary["plans"]) == (1, 2)
    (line,) = summary["differences"]
    assert line.startswith("plan 1: ")
    assert said in line
    assert main(["replay", str(tmp_path / "changed.mcap")]) == 1


def _other(record: PlanRecord) -> dict[str, np.ndarray]:
    return {name: 255 - image for name, image in record.observation.images.items()}


def test_an_input_changed_in_the_file_is_named(tmp_path: Path) -> None:
    log = tmp_path / "plans.mcap"
    records = make_plans(log, AgentConfig(PLANNER, deadline_s=None), 1)
    content = log.read_bytes()
    latents = records[0].inputs.state.latents.tobytes()
    assert content.count(latents) == 1
    changed = bytearray(latents)
    changed[0] ^= 1
    log.write_bytes(content.replace(latents, bytes(changed)))
    with pytest.raises(PlanLogError, match=r"plan 0 was changed .*latents"):
        replay(log, progress=False)


def test_other_libraries_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "plans.mcap"
    make_plans(log, AgentConfig(PLANNER, deadline_s=None), 1)
    now = this_machine() | {"onnxruntime": "0.1"}
    monkeypatch.setattr("foresee.replay.this_machine", lambda: now)
    (line,) = replay(log, progress=False)["changed"]
    assert line.startswith("onnxruntime: ")
    assert line.endswith(" then, 0.1 now")


_ENDLESS = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_replay
print("begin", flush=True)
test_replay.make_plans(Path(sys.argv[1]), test_replay.AgentConfig(test_replay.PLANNER), 10_000)
"""


def test_the_log_of_a_killed_process_can_be_replayed(tmp_path: Path) -> None:
    log = tmp_path / "plans.mcap"
    here = Path(__file__)
    command = [sys.executable, "-c", _ENDLESS, str(log), str(here.parent), str(here.parents[2])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while not log.exists() or log.stat().st_size < 200_000:
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    summary = replay(log, progress=False)
    assert summary["plans"] >= 8
    assert summary["identical"] == summary["plans"]
    log.write_bytes(log.read_bytes()[:-1000])  # cut in the middle of a plan
    assert replay(log, progress=False)["plans"] == summary["plans"] - 1


def test_a_run_writes_a_log_and_replay_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = tmp_path / "agent.yaml"
    agent.write_text("planner: {horizon: 4, knots: 2, samples: 16, elites: 4, iterations: 1}")
    log = tmp_path / "logs" / "plans.mcap"
    arguments = ["run", "--agent", str(agent), "--goals", "1", "--log", str(log)]
    assert main(arguments) == 0
    summary = tmp_path / "summary.json"
    assert main(["replay", str(log), "--json", str(summary)]) == 0
    found = json.loads(summary.read_text())
    assert found["identical"] == found["plans"] == 50
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["run", "--ros", "--log", str(log)]) == 2
    assert main(["run", "--task", "a.yaml", "--agent", "b.yaml"]) == 2


def test_a_run_pursues_the_goals_of_a_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tmp_path / "task.yaml"
    task.write_text(
        "goals: [{camera: true}]\n"
        "agent: {planner: {horizon: 4, knots: 2, samples: 16, elites: 4, iterations: 1}}"
    )
    summary = tmp_path / "summary.json"
    assert main(["run", "--task", str(task), "--goals", "1", "--json", str(summary)]) == 0
    (row,) = json.loads(summary.read_text())["goals"]
    # It is told to stay where it is.
    assert row["final_distance_m"] == pytest.approx(row["start_distance_m"], abs=0.06)
    said = capsys.readouterr()
    assert f"Pursued were the goals of {task} (1)" in said.out
    assert "left out" not in said.err
    # No goals are no graph: that the task's are left out is told before.
    assert main(["run", "--ros", "--task", str(task), "--goals", "0"]) == 2
    assert f"the goals of {task} are left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such log"), (b"", "not a log"), (b"\x89PNG and so on", "not a log")],
)
def test_what_is_no_log_is_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "plans.mcap"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PlanLogError, match=said):
        list(read_plan_log(path))


def test_an_empty_log_and_one_of_another_version_are_one_line(tmp_path: Path) -> None:
    PlanLog(tmp_path / "empty.mcap").close()
    with pytest.raises(PlanLogError, match="holds no plans"):
        list(read_plan_log(tmp_path / "empty.mcap"))
    log = PlanLog(tmp_path / "old.mcap")
    setup = setup_of(AgentConfig(cost=CostConfig()), str(BUNDLE), "cpu", "fp32", 1)
    log._add("setup", json.dumps(dataclasses.asdict(setup) | {"config": {"horizon": 3}}).encode())
    log.close()
    with pytest.raises(PlanLogError, match="another version"):
        list(read_plan_log(tmp_path / "old.mcap"))
