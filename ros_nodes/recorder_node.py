"""Records topics to a bag in MCAP, as `ros2 bag record` does, with nothing but rosbags.

Messages are taken as the bytes that came over the wire and written unopened. A topic is subscribed
when its publisher appears, with the publisher's own reliability and durability, so that latched
messages are recorded as well; those that nobody publishes are named in the log after some seconds
and in ``/diagnostics``. The bag is complete when the node has stopped on SIGINT or SIGTERM.

What was recorded is with the system twice a second, so that a recorder that is killed loses no
more; `foresee data` makes such a bag whole when it reads it. When the disk is full the recording
ends there, the node goes on and says so. After ``split_minutes`` a new bag is begun in the folder
of the first, ``part-002`` and so on, with the latched messages once more: what is damaged costs one
of them, and the index that is kept until the end of a bag, 2 MB an hour, does not grow for days. So
it is, a second later, when the clock is set back: a bag holds one stretch of time.

A topic that is remapped is recorded under its name in foresee, so that the import of the bag is the
same for every robot.

Subscribes: the topics of its parameter ``topics``, by default with those that a robot's parameter
file implies. Publishes: ``/diagnostics`` (1 Hz).
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.typesys import Stores, TypesysError, get_typestore

from ros_nodes import qos
from ros_nodes.command_interfaces import command_topics
from ros_nodes.convert import diagnostics, status_name
from ros_nodes.free_path import free_path
from ros_nodes.params import CommandParameters, RecorderParameters, declare_parameters
from ros_nodes.process import run_node, steady_timer
from ros_nodes.robot_file import parameters_of, remapped_names, ros_arguments

_LOOK_EVERY_S = 0.2
_DEPTH = 100
_FLUSH_EVERY_S = 0.5
_TOLD_AFTER_S = 5.0
_SET_BACK_NS = 10_000_000  # less than between two images
_UNDER_WAY_S = 1.0  # longer than a message takes from its stamp to here


class RecorderNode(Node):
    """See the module's text."""

    def __init__(self) -> None:
        """Create the bag.

        Raises:
            ValueError: no path, one that exists, or a topic name that is none.
        """
        super().__init__("recorder_node", automatically_declare_parameters_from_overrides=True)
        parameters = declare_parameters(self, RecorderParameters)
        if not parameters.path:
            raise ValueError("parameter path: name the folder of the new bag")
        # Of the default, which is for robots of all kinds, none ever has everything.
        self._asked_for = parameters.topics != RecorderParameters.topics
        topics = set(parameters.topics)
        if not self._asked_for:
            topics |= self._of_this_robot()
        self._waiting = {
            expand_topic_name(topic, self.get_name(), self.get_namespace()) for topic in topics
        }
        self._folder = free_path(Path(parameters.path))
        self._parts = 0
        self._latched: dict[str, bytes] = {}  # topic to its last message
        self._newest_ns = 0  # when the last message came
        self._next_part_s: float | None = None  # monotonic; where the clock was set back
        self._connections: dict[str, Connection] = {}  # of the bag in work, by topic
        self._lock = threading.Lock()  # the writer is used by callbacks and closed by stop()
        self._typestore = get_typestore(Stores.ROS2_JAZZY)
        self._writer: Writer | None = None
        self._count = 0
        self._problem = ""
        try:
            self._open()
        except (OSError, WriterError) as error:
            raise ValueError(f"parameter path: {error}") from error
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.STATE)
        steady_timer(self, _LOOK_EVERY_S, self._look_for_topics)
        steady_timer(self, _FLUSH_EVERY_S, self._flush)
        steady_timer(self, 1.0, self._publish_diagnostics)
        steady_timer(self, 60.0 * parameters.split_minutes, self._split)
        self._once = steady_timer(self, _TOLD_AFTER_S, self._tell_what_is_missing)

    def start(self) -> None:
        """Nothing to start: the executor does it all."""

    def stop(self) -> None:
        """Finish the bag."""
        with self._lock:
            if self._writer is not None:
                with self._disk():
                    self._close()
                self._writer = None

    def _of_this_robot(self) -> set[str]:
        """Topics that only its parameter file can name: of its commands, and what it remaps."""
        arguments = ros_arguments(sys.argv)
        command = parameters_of("command_node", CommandParameters, self.get_namespace(), arguments)
        return command_topics(command) | remapped_names(arguments)

    def _open(self) -> None:
        """Begin a bag."""
        self._parts += 1
        path = self._folder if self._parts == 1 else self._folder / f"part-{self._parts:03d}"
        writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.open()
        self._path, self._writer, self._count = path, writer, 0
        self._storage: McapWriter = writer.storage  # type: ignore[assignment]
        # Whoever wants to make an unfinished bag whole can see that this one is in work.
        fcntl.flock(self._storage.bio, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._connections = {
            topic: writer.add_connection(topic, before.msgtype, typestore=self._typestore)
            for topic, before in self._connections.items()
        }

    def _close(self) -> None:
        """Finish the bag in work."""
        assert self._writer is not None
        self._writer.close()
        self.get_logger().info(f"{self._count} messages in {self._path}")

    def _split(self) -> None:
        with self._lock, self._disk():
            if self._writer is not None and self._next_part_s is None:
                self._next_part()

    def _next_part(self) -> None:
        """Finish the bag in work and begin the next one."""
        self._close()
        self._open()
        for topic, data in self._latched.items():
            self._write(topic, data)

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """End the recording, and nothing else, when the disk does not take it."""
        try:
            yield
        except OSError as error:
            self._writer = None
            self._problem = f"recording ended after {self._count} messages: {error.strerror}"
            self.get_logger().error(f"{self._path}: {self._problem}")

    def _flush(self) -> None:
        with self._lock, self._disk():
            if self._writer is not None and self._storage.chunk.msgs:
                self._storage.close_chunk()
                self._storage.bio.flush()

    def _publish_diagnostics(self) -> None:
        level = DiagnosticStatus.WARN if self._waiting and self._asked_for else DiagnosticStatus.OK
        text = f"RECORDING, {self._missing()}" if self._waiting else "RECORDING"
        if self._problem:
            level, text = DiagnosticStatus.ERROR, self._problem
        values = {"messages": self._count, "path": str(self._path)}
        name, now_ns = status_name(self), self.get_clock().now().nanoseconds
        self._diagnostics.publish(diagnostics(now_ns, name, text, values, level))

    def _missing(self) -> str:
        return f"waiting for: {', '.join(sorted(self._waiting))}"

    def _tell_what_is_missing(self) -> None:
        self._once.cancel()
        if self._waiting and self._asked_for:
            self.get_logger().warning(self._missing())
        elif self._waiting:
            self.get_logger().info(self._missing())

    def _look_for_topics(self) -> None:
        for topic in sorted(self._waiting):
            publishers = self.get_publishers_info_by_topic(topic)
            if publishers:
                self._waiting.discard(topic)
                kind = publishers[0].topic_type
                try:
                    self._record(topic, kind, publishers[0].qos_profile)
                except (ImportError, AttributeError, TypesysError):
                    # The others are recorded all the same.
                    self.get_logger().error(f"{topic}: type {kind} is not known here: left out")

    def _record(self, topic: str, kind: str, offered: QoSProfile) -> None:
        quality = QoSProfile(
            depth=_DEPTH, reliability=offered.reliability, durability=offered.durability
        )
        message_class = _message_class(kind)
        with self._lock:
            if self._writer is None:
                return
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._typestore
            )
        latched = offered.durability == DurabilityPolicy.TRANSIENT_LOCAL

        def write(data: bytes) -> None:
            with self._lock, self._disk():
                if latched:
                    self._latched[topic] = data
                self._write(topic, data)

        self.create_subscription(message_class, topic, write, quality, raw=True)

    def _write(self, topic: str, data: bytes) -> None:
        if self._writer is None:
            return
        now_ns, before_ns = self.get_clock().now().nanoseconds, self._newest_ns
        self._newest_ns = now_ns
        if now_ns < before_ns - _SET_BACK_NS:
            # Bags are read in the order of time: in one, two stretches of it would be mixed. The
            # next one begins when nothing is under way any more that was stamped before.
            back_s = (before_ns - now_ns) / 1e9
            self.get_logger().warning(f"the clock was set back by {back_s:.2f} s: a new bag")
            self._next_part_s = time.monotonic() + _UNDER_WAY_S
        if self._next_part_s is not None:
            if time.monotonic() < self._next_part_s:
                return
            self._next_part_s = None
            self._next_part()
        self._writer.write(self._connections[topic], now_ns, data)
        self._count += 1


def _message_class(kind: str) -> type:
    """``sensor_msgs/msg/Image`` to the class."""
    package, _, name = kind.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


def main() -> None:
    """Entry point."""
    sys.exit(run_node("recorder_node", RecorderNode))


if __name__ == "__main__":
    main()
