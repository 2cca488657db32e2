"""The supervisor's ear for a `command_node` that runs, or says it runs, and sends nothing."""

import os
import threading
import time

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool
from waiting import eventually

from ros_nodes import qos
from ros_nodes.command_watch import CommandWatch
from ros_nodes.convert import diagnostics, velocity_to_twist
from ros_nodes.params import CommandParameters, ParameterError, SupervisorParameters, check
from ros_nodes.process import Spinner
from ros_nodes.transport import free_domain_id, transport_environment

SPEED = 0.05


class Scene:
    """A watch, and the test in the place of the `command_node` it listens to."""

    def __init__(self, node: Node, **given: object):
        self.killed: list[float] = []
        self.estops: list[bool] = []
        self.heard: list[float] = []  # speeds along x
        self.watch = CommandWatch(
            node, CommandParameters(**given), 0.1, lambda: self.killed.append(time.monotonic())
        )
        self.node = node
        self.commands = node.create_publisher(
            TwistStamped, "servo_node/delta_twist_cmds", qos.COMMAND_LOG
        )
        node.create_subscription(
            TwistStamped,
            "servo_node/delta_twist_cmds",
            lambda m: self.heard.append(m.twist.linear.x),
            qos.COMMAND_LOG,
        )
        self.statuses = node.create_publisher(DiagnosticArray, "command_node/status", qos.STATE)
        self.estop = node.create_publisher(Bool, "estop", qos.STATE)
        node.create_subscription(Bool, "estop", lambda m: self.estops.append(m.data), qos.STATE)

    def move(self, speeds):
        """One command every 10 ms."""
        for speed in speeds:
            stamp_ns = self.node.get_clock().now().nanoseconds
            self.commands.publish(velocity_to_twist(np.full(3, speed), stamp_ns, "panda_link0"))
            time.sleep(0.01)

    def say(self, pid, estop, cleared=0):
        values = {"pid": pid, "armed": "false", "estop": estop, "estops_cleared": cleared}
        self.statuses.publish(diagnostics(0, "/command_node", "", values, DiagnosticStatus.OK))


@pytest.fixture
def scene(monkeypatch, request):
    domain_id = free_domain_id()
    for name, value in transport_environment(domain_id).items():
        monkeypatch.setenv(name, value)
    context = Context()
    rclpy.init(args=[], context=context, domain_id=domain_id)
    node = Node("test", context=context)
    scene = Scene(node, **getattr(request, "param", {}))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    spinner = Spinner(executor)
    listeners = 1 if getattr(request, "param", {}).get("shadow") else 2
    assert eventually(lambda: scene.commands.get_subscription_count() == listeners)
    yield scene
    scene.watch.stop()
    spinner.stop()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_silence_in_motion_is_a_loss_and_silence_at_rest_is_none(scene):
    scene.watch.start()
    scene.move([SPEED] * 20 + [0.0] * 3)
    time.sleep(0.4)
    assert scene.killed == []
    scene.move([SPEED] * 20)
    silent_s = time.monotonic()
    assert eventually(lambda: scene.killed)
    assert 0.05 < scene.killed[0] - silent_s < 0.5


@pytest.mark.parametrize("scene", [{"shadow": True}], indirect=True)
def test_what_is_commanded_in_shadow_moves_nothing_that_could_be_lost(scene):
    shadow = scene.node.create_publisher(
        TwistStamped, "command_node/shadow/servo_node/delta_twist_cmds", qos.COMMAND_LOG
    )
    scene.watch.start()
    for publisher in (scene.commands, shadow):
        scene.commands = publisher
        scene.move([SPEED] * 20)
    time.sleep(0.4)
    scene.watch.command_lost()
    assert (scene.killed, scene.watch.stops) == ([], 0)


def test_an_estop_before_a_silence_is_noticed_leaves_no_ramp(scene):
    scene.move(np.linspace(0.0, 0.25, 40))
    scene.estop.publish(Bool(data=True))
    assert eventually(lambda: scene.estops)
    count = len(scene.heard)
    scene.watch.command_lost()
    assert eventually(lambda: scene.heard[count:] == [0.0])


def test_a_silence_that_began_long_ago_is_one_and_nobody_else_has_to_notice(scene):
    scene.move([SPEED] * 20)
    time.sleep(0.8)
    scene.watch.start()  # as after a time in which it did not run itself
    assert eventually(lambda: scene.killed)
    assert eventually(lambda: scene.estops == [True])
    assert scene.watch.stops == 1
    time.sleep(0.8)
    assert len(scene.killed) == 1


@pytest.mark.parametrize("silence_s", [0.01, 0.5])  # from 0.5 s on no command counts as recent
def test_a_silence_that_would_never_be_noticed_is_refused(silence_s):
    with pytest.raises(ParameterError, match="silence_s"):
        check(SupervisorParameters(silence_s=silence_s))


def test_an_estop_is_repeated_only_to_a_process_that_could_not_hear_it(scene):
    assert not scene.watch.starts()
    scene.watch.started(os.getpid())
    scene.estop.publish(Bool(data=True))  # while it comes up
    assert eventually(lambda: scene.estops == [True])
    scene.say(os.getpid() + 1, "true")  # the last word of the one before
    scene.say(os.getpid(), "false")
    assert eventually(lambda: scene.estops == [True, True])
    scene.say(os.getpid(), "true")
    time.sleep(0.1)
    scene.say(os.getpid(), "false", cleared=1)
    time.sleep(0.1)
    scene.say(os.getpid(), "false", cleared=1)
    time.sleep(0.2)
    assert scene.estops == [True, True]
    assert not scene.watch.starts()


def test_an_estop_that_was_heard_is_for_the_next_process_too(scene):
    scene.watch.starts()
    scene.watch.started(os.getpid())
    scene.say(os.getpid(), "false")
    assert eventually(lambda: scene.watch._spoken)
    scene.estop.publish(Bool(data=True))
    assert eventually(lambda: scene.estops)
    scene.say(os.getpid(), "false")  # on its way since before the e-stop
    time.sleep(0.1)
    assert scene.estops == [True]
    assert scene.watch.starts()


def test_an_estop_that_only_the_supervisor_heard_is_repeated(scene):
    scene.watch.started(os.getpid())
    scene.say(os.getpid(), "false")
    assert eventually(lambda: scene.watch._spoken)
    scene.estop.publish(Bool(data=True))  # whose sender is gone before the other has found it
    assert eventually(lambda: scene.estops)
    time.sleep(0.3)
    scene.say(os.getpid(), "false")
    assert eventually(lambda: scene.estops == [True, True])
    scene.say(os.getpid(), "true")
    time.sleep(0.3)
    scene.say(os.getpid(), "false", cleared=1)
    time.sleep(0.2)
    assert scene.estops == [True, True]


def test_of_two_threads_that_notice_one_brakes(scene):
    scene.move([SPEED] * 20)
    threads = [threading.Thread(target=scene.watch.command_lost) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scene.watch.stops == 1
    assert eventually(lambda: scene.estops == [True])


@pytest.mark.parametrize("scene", [{"acceleration_m_s2": (0.5,) * 3}], indirect=True)
def test_an_estop_during_the_ramp_ends_it_at_once(scene):
    scene.move(np.linspace(0.0, 0.25, 40))
    thread = threading.Thread(target=scene.watch.command_lost)
    count = len(scene.heard)
    thread.start()
    assert eventually(lambda: len(scene.heard) > count + 1)
    scene.estop.publish(Bool(data=True))
    thread.join()
    assert eventually(lambda: scene.heard[-1] == 0.0)
    assert scene.heard[-2] > 0.02  # not down a ramp


def test_one_that_was_killed_while_it_ended_is_braked_for(scene):
    scene.move([SPEED] * 20)
    scene.watch.stop()
    scene.watch.command_lost()  # that it is gone is no news any more
    assert scene.watch.stops == 0
    scene.watch.command_ended()
    assert eventually(lambda: scene.heard[-1] == 0.0)
    assert scene.watch.stops == 1
    scene.watch.command_ended()  # at rest
    assert scene.watch.stops == 1
