"""Records topics to a bag in MCAP, as `ros2 bag record` does, with nothing but rosbags.

Messages are taken as the bytes that came over the wire and written unopened. A topic is subscribed
when its publisher appears, with the publisher's own reliability and durability, so that latched
messages are recorded as well. The bag is complete when the node has stopped on SIGINT or SIGTERM.

Subscribes: the topics of its parameter ``topics``. Publishes: nothing.
"""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from ros_nodes.params import RecorderParameters, declare_parameters
from ros_nodes.process import run_node

_LOOK_EVERY_S = 0.2
_DEPTH = 100


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
        self._waiting = {
            expand_topic_name(topic, self.get_name(), self.get_namespace())
            for topic in parameters.topics
        }
        self._lock = threading.Lock()  # the writer is used by callbacks and closed by stop()
        self._typestore = get_typestore(Stores.ROS2_JAZZY)
        self._writer: Writer | None = None
        self._path = Path(parameters.path)
        self._count = 0
        try:
            writer = Writer(self._path, version=9, storage_plugin=StoragePlugin.MCAP)
            writer.open()
        except WriterError as error:
            raise ValueError(f"parameter path: {error}") from error
        self._writer = writer
        self.create_timer(_LOOK_EVERY_S, self._look_for_topics)

    def start(self) -> None:
        """Nothing to start: the executor does it all."""

    def stop(self) -> None:
        """Finish the bag."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
                self.get_logger().info(f"{self._count} messages in {self._path}")

    def _look_for_topics(self) -> None:
        for topic in sorted(self._waiting):
            publishers = self.get_publishers_info_by_topic(topic)
            if publishers:
                self._waiting.discard(topic)
                self._record(topic, publishers[0].topic_type, publishers[0].qos_profile)

    def _record(self, topic: str, kind: str, offered: QoSProfile) -> None:
        quality = QoSProfile(
            depth=_DEPTH, reliability=offered.reliability, durability=offered.durability
        )
        with self._lock:
            if self._writer is None:
                return
            connection = self._writer.add_connection(topic, kind, typestore=self._typestore)

        def write(data: bytes, connection: Connection = connection) -> None:
            stamp_ns = self.get_clock().now().nanoseconds
            with self._lock:
                if self._writer is not None:
                    self._writer.write(connection, stamp_ns, data)
                    self._count += 1

        self.create_subscription(_message_class(kind), topic, write, quality, raw=True)


def _message_class(kind: str) -> type:
    """``sensor_msgs/msg/Image`` to the class."""
    package, _, name = kind.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


def main() -> None:
    """Entry point."""
    sys.exit(run_node("recorder_node", RecorderNode))


if __name__ == "__main__":
    main()
