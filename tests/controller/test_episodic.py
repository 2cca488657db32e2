"""Episodic memory: what is written stays, what is damaged is left out, what is near is found."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from controller.agent import Agent
from controller.config import AgentConfig, MemoryConfig, PlannerConfig
from controller.episodic import EpisodicMemory, Moment, knots_of
from controller.memory import AppliedCommand
from controller.settings import ConfigError

STEP_NS = 100_000_000
PLANNER = PlannerConfig(horizon=8, knots=4, samples=32, elites=4, iterations=1, noise_beta=0.0)


def moment(x: float, stamp: int = 0, action=(1.0, 0.0)) -> Moment:
    place = np.array([x, 0.0], np.float32)
    return Moment(stamp, place[None], place, np.array(action, np.float32))


def opened(folder, model, capacity=100, identity="a") -> EpisodicMemory:
    return EpisodicMemory.open(folder, model.spec, identity, capacity)


def places(memory) -> list[float]:
    return [float(memory.moment(i).latent[0, 0]) for i in range(len(memory))]


def test_what_was_remembered_is_there_again(tmp_path, model):
    memory = opened(tmp_path, model)
    memory.add(moment(0.5, 7, (0.25, -0.5)))
    memory.close()
    memory.add(moment(9.0))  # by an agent that is being taken over from
    memory.close()
    memory = opened(tmp_path, model)
    found = memory.moment(0)
    assert found.stamp_ns == 7
    assert found.action.tolist() == [0.25, -0.5]
    memory.add(moment(0.75))
    memory.close()
    assert places(opened(tmp_path, model)) == [0.5, 0.75]
    assert len(list(tmp_path.glob("*/*.moments"))) == 1  # it goes on in the same file


def test_it_is_bounded_and_the_newest_stay(tmp_path, model):
    memory = opened(tmp_path, model, capacity=20)
    for number in range(95):
        memory.add(moment(number))
        assert len(memory) <= 20
    assert places(memory) == list(range(80, 95))
    size = sum(path.stat().st_size for path in tmp_path.glob("*/*.moments"))
    assert size <= 2 * 4096 + 20 * 64
    memory.close()
    assert places(opened(tmp_path, model, capacity=20)) == list(range(80, 95))


def test_a_smaller_capacity_keeps_the_newest_of_what_is_there(tmp_path, model):
    memory = opened(tmp_path, model, capacity=20)
    for number in range(18):
        memory.add(moment(number))
    memory.close()
    memory = opened(tmp_path, model, capacity=6)
    assert places(memory) == [7, 8, 9, 15, 16, 17]
    memory.add(moment(18))
    assert places(memory) == [15, 16, 17, 18]


_WRITER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from conftest import PointModel
from test_episodic import moment, opened
memory = opened(Path(sys.argv[1]), PointModel())
number = 0
while True:
    memory.add(moment(number))
    number += 1
    print(number, flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_remembered(tmp_path, model):
    here = Path(__file__)
    command = [sys.executable, "-c", _WRITER, str(tmp_path), str(here.parent), str(here.parents[2])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(30)]
        os.kill(process.pid, signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split()]
    memory = opened(tmp_path, model)
    assert memory.damaged == 0
    # 100 are the most, kept by halves.
    assert places(memory)[-1] in (said[-1] - 1, said[-1])
    assert len(memory) >= min(said[-1], 50)


def test_damage_is_left_out_and_counted(tmp_path, model):
    memory = opened(tmp_path, model)
    for number in range(5):
        memory.add(moment(number))
    memory.close()
    (path,) = tmp_path.glob("*/*.moments")
    content = bytearray(path.read_bytes())
    size = (len(content) - 4096) // 5
    content[4096 + 2 * size + 20] ^= 1  # a bit of the third record
    path.write_bytes(content[:-3])  # and the last one was cut off
    memory = opened(tmp_path, model)
    assert memory.damaged == 1  # the last was never promised
    assert places(memory) == [0, 1, 3]
    memory.add(moment(9))
    memory.close()
    memory = opened(tmp_path, model)
    assert (memory.damaged, places(memory)) == (1, [0, 1, 3, 9])
    memory.close()
    path.write_bytes(b"x" + path.read_bytes()[1:])  # a head that cannot be trusted
    memory = opened(tmp_path, model)
    assert (memory.damaged, len(memory)) == (1, 0)
    memory.add(moment(1))


def test_a_segment_killed_at_its_birth_is_no_damage(tmp_path, model):
    memory = opened(tmp_path, model, capacity=4)
    for number in range(3):
        memory.add(moment(number))
    memory.close()
    newest = sorted(tmp_path.glob("*/*.moments"))[-1]
    os.truncate(newest, 1000)  # killed while its head was being written
    memory = opened(tmp_path, model, capacity=4)
    assert (memory.damaged, places(memory)) == (0, [0, 1])
    memory.add(moment(7))
    memory.close()
    assert places(opened(tmp_path, model, capacity=4)) == [0, 1, 7]


def test_models_do_not_share_a_memory_and_processes_neither(tmp_path, model, make_model):
    first = opened(tmp_path, model, identity="a")
    first.add(moment(1.0))
    assert len(opened(tmp_path, model, identity="b")) == 0
    assert len(opened(tmp_path, make_model(action_names=("a", "b")))) == 0
    with pytest.raises(ConfigError, match="in use by another process"):
        opened(tmp_path, model, identity="a")
    first.close()
    assert len(opened(tmp_path, model, identity="a")) == 1


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path, model):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot keep a memory here"):
        opened(tmp_path / "file", model)


def test_the_nearest_are_found_in_order(tmp_path, model):
    memory = opened(tmp_path, model)
    assert memory.nearest(moment(0.0).latent, 3).tolist() == []
    for x in (0.9, 0.1, 0.5, 0.3):
        memory.add(moment(x))
    assert memory.nearest(moment(0.35).latent, 3).tolist() == [3, 2, 1]
    assert memory.nearest(moment(0.35).latent, 0).tolist() == []


def test_courses_are_what_led_to_the_goal_from_here(tmp_path, model):
    memory = opened(tmp_path, model)
    for direction in (-1.0, 1.0):
        for step in range(4):
            memory.add(moment(direction * 0.1 * step, step, (direction, 0.0)))
        memory.begin_run()
    here, goal = moment(0.0).latent, moment(0.3).latent
    courses = memory.courses(here, goal, 1, 6)
    # Right to the goal for the four moments of that run, then nothing is known.
    assert courses[0, :, 0].tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert memory.courses(here, goal, 0, 6).shape == (0, 6, 2)
    assert knots_of(courses, [0, 2, 4]).tolist() == [[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]]


def test_a_subgoal_lies_on_a_way_that_led_there(tmp_path, model):
    memory = opened(tmp_path, model)
    here, goal = moment(0.0).latent, moment(1.0).latent
    assert memory.subgoal(here, goal, 3) is None
    for step in range(11):
        memory.add(moment(0.1 * step, step))
    found = memory.subgoal(here, goal, 3)
    assert found[0, 0] == pytest.approx(0.3)
    assert memory.subgoal(moment(0.9).latent, goal, 3) is None  # the goal itself is near
    assert memory.subgoal(here, moment(-5.0).latent, 3) is None  # nobody went there


def test_an_agent_remembers_and_uses_what_it_did(tmp_path, model):
    settings = AgentConfig(
        PLANNER, memory=MemoryConfig(str(tmp_path), candidates=2, subgoal_steps=2), deadline_s=None
    )
    memory = opened(tmp_path, model)
    # It once went round by the left and came to the goal.
    for step, x in enumerate((0.0, -0.1, -0.2, 0.0, 0.4, 0.8, 1.0)):
        memory.add(moment(x, step, (-1.0 if step < 2 else 1.0, 0.0)))
    agent = Agent(model, settings, memory)
    agent.set_goal(model.image([1.0, 0.0]), "photo")
    records = []
    agent.log = records.append
    place = np.zeros(2, np.float32)
    for step in range(3):
        plan = agent.step(model.observe(place, step * STEP_NS))
        place = place + 0.1 * plan.action_at(step * STEP_NS)
    inputs = records[0].inputs
    assert inputs.goal.source == "remembered way to photo"
    assert inputs.goal.latent[0, 0] in (pytest.approx(-0.2), pytest.approx(0.4, abs=0.01))
    assert inputs.candidates.shape == (2, 4, 2)
    assert len(memory) == 7 + 2  # the last frame waits for what is done after it
    last = memory.moment(8)
    assert last.stamp_ns == STEP_NS
    np.testing.assert_allclose(last.action, agent.state.commands.mean(STEP_NS, 2 * STEP_NS))


@pytest.mark.parametrize("latency", [0, 1])
def test_remembered_courses_begin_when_the_plan_does(tmp_path, model, latency):
    memory = opened(tmp_path, model)
    for step in range(12):
        memory.add(moment(0.1 * step, step, (0.1 * step, 0.0)))
    settings = AgentConfig(
        PLANNER,
        memory=MemoryConfig(str(tmp_path), candidates=1),
        latency_steps=latency,
        deadline_s=None,
    )
    agent, records = Agent(model, settings, memory), []
    agent.set_goal(model.image([0.5, 0.0]))
    agent.log = records.append
    agent.step(model.observe([0.0, 0.0], 0))
    # A knot is the mean of two steps: of 0 and 0.1, of 0.2 and 0.3, …, or each a step later.
    expected = np.array([0.05, 0.25, 0.45, 0.65]) + 0.1 * latency
    np.testing.assert_allclose(records[0].inputs.candidates[0, :, 0], expected, atol=1e-6)


def test_a_fast_camera_and_a_gap_do_not_change_what_a_moment_is(tmp_path, model):
    memory = opened(tmp_path, model)
    agent = Agent(model, AgentConfig(PLANNER, deadline_s=None), memory)
    for number in range(9):
        agent.step(model.observe([0.1, 0.0], number * STEP_NS // 4))  # 40 Hz
    assert [memory.moment(i).stamp_ns for i in range(len(memory))] == [0, STEP_NS * 3 // 4]
    agent.step(model.observe([0.1, 0.0], 100 * STEP_NS))
    assert len(memory) == 2
    agent.reset()
    agent.step(model.observe([0.1, 0.0], 0))
    assert len(memory) == 2


def test_a_moment_is_all_that_was_done_in_it_however_short_the_context(tmp_path, make_model):
    model = make_model(context=1)
    memory = opened(tmp_path, model)
    agent = Agent(model, AgentConfig(PLANNER, deadline_s=None), memory)
    for number in range(9):  # 40 Hz
        stamp_ns = number * STEP_NS // 4
        applied = [AppliedCommand(stamp_ns, np.array([0.5, 0.0]))]
        agent.step(model.observe([0.1, 0.0], stamp_ns), applied)
    done = [memory.moment(i).action for i in range(len(memory))]
    np.testing.assert_allclose(done, [[0.5, 0.0]] * 2, atol=1e-6)


def test_two_frames_of_one_stamp_do_not_begin_a_run(tmp_path, model):
    memory = opened(tmp_path, model)
    agent = Agent(model, AgentConfig(PLANNER, deadline_s=None), memory)
    for number in range(8):
        agent.step(model.observe([0.1, 0.0], number // 2 * STEP_NS))
    assert [memory.moment(i).stamp_ns for i in range(len(memory))] == [0, STEP_NS, 2 * STEP_NS]
    assert len(set(memory._moments["run"][: len(memory)])) == 1


def test_a_full_disk_ends_remembering_and_not_the_run(tmp_path, model, monkeypatch):
    memory = opened(tmp_path, model)
    agent = Agent(model, AgentConfig(PLANNER, deadline_s=None), memory)
    agent.step(model.observe([0.0, 0.0], 0))
    agent.step(model.observe([0.0, 0.0], STEP_NS))
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[: len(data) // 2]))
    agent.step(model.observe([0.0, 0.0], 2 * STEP_NS))
    monkeypatch.undo()
    assert "No space left" in agent.memory_problem
    agent.step(model.observe([0.0, 0.0], 3 * STEP_NS))
    memory.close()
    memory = opened(tmp_path, model)
    assert (len(memory), memory.damaged) == (1, 0)


def test_a_large_memory_is_quick(tmp_path, make_model, monkeypatch):
    size, width = 100_000, 64
    memory = opened(tmp_path, make_model(latent_shape=(1, width)), capacity=size)
    rng = np.random.default_rng(0)
    memory._moments = np.zeros(size, memory._kind)
    memory._moments["latent"] = rng.normal(size=(size, 1, width))
    here, goal = memory._moments["latent"][10].copy(), memory._moments["latent"][90_000].copy()
    memory._moments["latent"][1:40] = here  # many ways from here
    memory._count = size
    compared, distance = [], memory._distance

    def count(part, latent):
        compared.append(part.stop - part.start)
        return distance(part, latent)

    monkeypatch.setattr(memory, "_distance", count)
    begin = time.process_time()
    memory.courses(here, goal, 4, 12)
    assert memory.subgoal(here, goal, 12) is not None
    assert time.process_time() - begin < 2.0
    assert sum(compared) < 4 * size  # and not once for each of the ways


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"capacity": 1}, "capacity must be at least 2"),
        ({"candidates": -1}, "candidates must be at least 0"),
        ({"candidates": 1}, "there is no folder"),
        ({"subgoal_steps": 3}, "there is no folder"),
    ],
)
def test_limits(settings, said):
    with pytest.raises(ConfigError, match=said):
        MemoryConfig(**settings)
