"""What is left of a recording when the recorder is killed, and when the disk is full."""

import itertools
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from visualization_msgs.msg import Marker
from waiting import PATIENCE_S, eventually

from ros_nodes import qos
from ros_nodes.client import GraphClient
from ros_nodes.graph import Graph, NodeSpec
from ros_nodes.params import FakeRobotParameters, RecorderParameters
from world_model.data.bags import Bag, header_stamp_ns, read_bag
from world_model.data.recover import recover, unfinished
from world_model.data.sources.bag import find_bags
from world_model.data.spec import DatasetError

TOPICS = ("scene/image_raw", "joint_states", "robot_description")


def recorder(path) -> NodeSpec:
    return NodeSpec("recorder_node", RecorderParameters(path=str(path), topics=TOPICS))


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    robot = NodeSpec("fake_robot_node", FakeRobotParameters())
    with Graph([robot], tmp_path_factory.mktemp("robot")) as graph:
        graph.wait_ready(PATIENCE_S)
        yield graph


@pytest.mark.parametrize("phase_s", np.random.default_rng(0).uniform(2.0, 3.5, 2).round(2))
def test_a_killed_recorder_leaves_all_but_the_last_second(robot, tmp_path, phase_s):
    bag = tmp_path / "bag"
    with Graph([recorder(bag)], tmp_path / "run", robot.domain_id) as graph:
        graph.wait_ready(PATIENCE_S)
        assert eventually(lambda: os.path.getsize(bag / "bag.mcap") > 20_000)
        with pytest.raises(DatasetError, match="is being recorded now"):
            Bag(bag)
        time.sleep(phase_s)
        os.kill(graph.pids["recorder_node"], signal.SIGKILL)
        killed_s = time.time()
        graph.stop()
    assert unfinished(bag)
    messages = list(read_bag(bag))
    lost_s = killed_s - 1e-9 * messages[-1].stamp_ns
    print(f"lost the last {lost_s:.2f} s of {1e-9 * messages[0].stamp_ns - killed_s:.1f} s")
    assert lost_s < 1.5  # 1.0 on a machine that is not busy
    assert not unfinished(bag)
    topics = {message.topic for message in messages}
    assert topics == {f"/{topic}" for topic in TOPICS}
    stamps_s = np.array([1e-9 * m.stamp_ns for m in messages if m.topic == "/joint_states"])
    assert len(stamps_s) > 50 * (stamps_s[-1] - stamps_s[0])  # 100 Hz on a machine that is free
    # It is an ordinary bag now, as often as one likes; of the repair there is the file as it was.
    assert len(list(read_bag(bag))) == len(messages)
    names = sorted(path.name for path in bag.iterdir())
    assert names == ["bag.mcap", "bag.mcap.unfinished", "metadata.yaml"]


def test_a_full_disk_ends_the_recording_and_nothing_else(robot, tmp_path):
    bag, told = tmp_path / "bag", []

    def take(message) -> None:
        told.extend(s.message for s in message.status if s.name == "recorder_node")

    with Graph([recorder(bag)], tmp_path / "run", robot.domain_id) as graph:
        graph.wait_ready(PATIENCE_S)
        with GraphClient(robot.domain_id) as client:
            client._node.create_subscription(DiagnosticArray, "/diagnostics", take, qos.STATE)
            assert eventually(lambda: "RECORDING" in told)
            # A file that may not grow any more: to the recorder, a disk without room.
            limit = 200_000
            pid = graph.pids["recorder_node"]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            assert eventually(lambda: any("recording ended" in text for text in told))
            before = len(told)
            assert eventually(lambda: len(told) > before + 1)  # it goes on to say so
            graph.check()
        assert graph.stop() == {"recorder_node": 0}
    assert len(list(read_bag(bag))) > 20


def test_topics_that_nobody_publishes_are_named(robot, tmp_path, monkeypatch):
    # A machine without the package of a message: an empty one is found before it.
    hidden = tmp_path / "python" / "visualization_msgs" / "__init__.py"
    hidden.parent.mkdir(parents=True)
    hidden.touch()
    paths = [str(tmp_path / "python"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    told = []
    topics = ("joint_states", "nobody", "odd")
    spec = NodeSpec("recorder_node", RecorderParameters(path=str(tmp_path / "bag"), topics=topics))

    def take(message) -> None:
        told.extend((s.level, s.message) for s in message.status if s.name == "recorder_node")

    with GraphClient(robot.domain_id) as client:
        client._node.create_subscription(DiagnosticArray, "/diagnostics", take, qos.STATE)
        with Graph([spec], tmp_path / "run", robot.domain_id) as graph:
            graph.wait_ready(PATIENCE_S)
            missing = "RECORDING, waiting for: /nobody, /odd"
            assert eventually(lambda: (DiagnosticStatus.WARN, missing) in told)
            log = tmp_path / "run" / "logs" / "recorder_node.log"
            assert eventually(lambda: "waiting for: /nobody, /odd" in log.read_text())
            client._node.create_publisher(Marker, "odd", qos.STATE)
            assert eventually(lambda: "msg/Marker is not known here" in log.read_text())
            client._node.create_publisher(Bool, "nobody", qos.STATE)
            assert eventually(lambda: (DiagnosticStatus.OK, "RECORDING") in told)
            graph.check()
            assert graph.stop() == {"recorder_node": 0}
    assert log.read_text().count("waiting for") == 1
    assert {"/joint_states"} == {message.topic for message in read_bag(tmp_path / "bag")}


def test_a_long_recording_is_several_bags_each_with_what_is_latched(robot, tmp_path):
    given = RecorderParameters(path=str(tmp_path / "bag"), topics=TOPICS, split_minutes=2.0 / 60.0)
    node = NodeSpec("recorder_node", given)
    with Graph([node], tmp_path / "run", robot.domain_id) as graph:
        graph.wait_ready(PATIENCE_S)
        assert eventually(lambda: (tmp_path / "bag" / "part-003").is_dir())
        time.sleep(1.0)
        assert graph.stop() == {"recorder_node": 0}
    stamps_s = []
    bags = find_bags(tmp_path / "bag")
    assert bags == [tmp_path / "bag" / part for part in (".", "part-002", "part-003")]
    for bag in bags:
        messages = list(read_bag(bag))
        assert {message.topic for message in messages} == {f"/{topic}" for topic in TOPICS}
        stamps_s += [1e-9 * m.stamp_ns for m in messages if m.topic == "/joint_states"]
    gaps_s = np.diff(stamps_s)
    print(f"longest gap {gaps_s.max():.3f} s")
    assert (gaps_s > 0.0).all()
    assert np.percentile(gaps_s, 99) < 0.1


def test_a_clock_set_back_begins_a_new_bag_with_what_is_stamped_after_it(tmp_path):
    given = RecorderParameters(path=str(tmp_path / "bag"), topics=("joint_states",))
    node = NodeSpec("recorder_node", given)
    with Graph([node], tmp_path / "run", sim_time=True) as graph:
        graph.wait_ready(PATIENCE_S)
        with GraphClient(graph.domain_id) as client:
            clock = client._node.create_publisher(Clock, "/clock", qos.CLOCK)
            joints = client._node.create_publisher(JointState, "/joint_states", qos.STATE)

            def live(begin_s: float, file: Path) -> None:
                """Publish time and readings stamped with it, until enough of them are in a file."""
                times_s = itertools.count(begin_s, 0.02)
                clock.publish(Clock(clock=Time(seconds=next(times_s)).to_msg()))
                time.sleep(0.5)  # no reading overtakes it

                def step() -> bool:
                    now = Time(seconds=next(times_s)).to_msg()
                    clock.publish(Clock(clock=now))
                    reading = JointState(name=["a"], position=[0.0])
                    reading.header.stamp = now
                    joints.publish(reading)
                    return file.exists() and file.stat().st_size > 5_000

                assert eventually(step)

            live(1000.0, tmp_path / "bag" / "bag.mcap")
            live(990.0, tmp_path / "bag" / "part-002" / "part-002.mcap")
        assert graph.stop() == {"recorder_node": 0}
    bags = find_bags(tmp_path / "bag")
    assert bags == [tmp_path / "bag", tmp_path / "bag" / "part-002"]
    for path, begin_s in zip(bags, (1000.0, 990.0), strict=True):
        with Bag(path) as bag:
            assert bag.set_back_ns() == 0
            stamps_s = [1e-9 * header_stamp_ns(raw.data) for raw in bag.raw()]
        assert stamps_s[0] >= begin_s
        assert (np.diff(stamps_s) > 0.0).all()


def test_an_existing_bag_is_never_written_over(robot, tmp_path):
    (tmp_path / "bag").mkdir()
    with Graph([recorder(tmp_path / "bag")], tmp_path / "run", robot.domain_id) as graph:
        graph.wait_ready(PATIENCE_S)
        assert eventually(lambda: (tmp_path / "bag-2").is_dir())
    assert list((tmp_path / "bag").iterdir()) == []


def test_what_holds_nothing_is_told(tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "bag.mcap").write_bytes(b"\x89MCAP0\r\n")
    with pytest.raises(DatasetError, match="without a single whole message"):
        recover(tmp_path / "bag")
    assert (tmp_path / "bag" / "bag.mcap").exists()
