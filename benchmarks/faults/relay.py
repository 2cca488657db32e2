"""Stands between the robot and the nodes, and lets messages through as a fault would.

A process of its own with rclpy and none of our nodes. It takes every message of a route as the
bytes that came and sends them on, until it is told of a fault: one JSON object a line on stdin,
answered by one line on stdout once it is in force. The first line has ``routes`` and ``seed``.

    {"routes": ["scene"], "fault": "drop", "share": 0.5}      {"routes": ["scene"]}

Faults of any route: ``drop`` (share), ``gap`` (all of it), ``late`` (seconds), ``duplicate``
(times), ``reorder`` (of two, the later first), ``stamp`` (seconds added to the header). Of images:
``frozen``, ``black``, ``bit_flips`` (share of the bytes), ``truncated`` (share kept), ``encoding``
(name), ``size`` (height, width). Of joints: ``permuted``, ``missing`` (count), ``not_finite``
(value). Of poses: ``not_finite``. Of plans: ``not_finite_plan``. Of the clock: ``clock`` (seconds).
"""

from __future__ import annotations

import array
import heapq
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message

from benchmarks.faults.wire import serve
from ros_nodes.process import use_realtime_priority

Message = Any  # of any type
DEPTH = 50
_PRIORITY = 40  # below the nodes that command the robot
_NS_PER_S = 1_000_000_000


@dataclass
class Route:
    """One topic through the relay, and what is wrong with it.

    Attributes:
        kind: message class.
        publisher: where it goes on.
        fault: what to do with its messages; empty for nothing.
        held: the message that waits for its successor (``reorder``), or is repeated (``frozen``).
    """

    kind: Any
    publisher: Publisher
    fault: dict[str, Any] = field(default_factory=dict)
    held: bytes | None = None


class Relay(Node):
    """See the module's text.

    Args:
        routes: name to (message type like ``sensor_msgs/msg/Image``, topic in, topic out,
            whether reliable).
        seed: of what is dropped and flipped.
    """

    def __init__(self, routes: dict[str, tuple[str, str, str, bool]], seed: int) -> None:
        super().__init__("fault_relay")
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._late: list[tuple[float, int, Publisher, bytes]] = []
        self._count = 0
        self._wake = threading.Event()
        self.routes: dict[str, Route] = {}
        for name, (type_name, topic_in, topic_out, reliable) in routes.items():
            package, _, class_name = type_name.split("/")
            kind = getattr(import_module(f"{package}.msg"), class_name)
            quality = QoSProfile(
                depth=DEPTH,
                reliability=ReliabilityPolicy.RELIABLE
                if reliable
                else ReliabilityPolicy.BEST_EFFORT,
            )
            self.routes[name] = Route(kind, self.create_publisher(kind, topic_out, quality))
            self.create_subscription(kind, topic_in, self._taker(name), quality, raw=True)
        threading.Thread(target=self._send_late, name="late", daemon=True).start()

    def set_fault(self, name: str, fault: dict[str, Any]) -> None:
        """Put a fault in force from the next message on; an empty one ends it."""
        with self._lock:
            route = self.routes[name]
            route.fault, route.held = fault, None

    def _taker(self, name: str) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            with self._lock:
                route = self.routes[name]
                if not route.fault:
                    route.publisher.publish(data)
                    return
                self._pass_on(route, data)

        return take

    def _pass_on(self, route: Route, data: bytes) -> None:
        fault, kind = route.fault, route.fault["fault"]
        if kind == "gap" or (kind == "drop" and self._rng.random() < fault["share"]):
            return
        if kind == "late":
            self._count += 1
            due = time.monotonic() + fault["seconds"]
            heapq.heappush(self._late, (due, self._count, route.publisher, data))
            self._wake.set()
        elif kind == "duplicate":
            for _ in range(fault["times"]):
                route.publisher.publish(data)
        elif kind == "reorder":
            if route.held is None:
                route.held = data
            else:
                route.publisher.publish(data)
                route.publisher.publish(route.held)
                route.held = None
        elif kind == "drop":
            route.publisher.publish(data)
        else:
            message = deserialize_message(data, route.kind)
            _CHANGES[kind](message, fault, route, self._rng)
            route.publisher.publish(message)

    def _send_late(self) -> None:
        while True:
            self._wake.wait(0.002)
            self._wake.clear()
            with self._lock:
                while self._late and self._late[0][0] <= time.monotonic():
                    _, _, publisher, data = heapq.heappop(self._late)
                    publisher.publish(data)


Change = Callable[[Message, dict[str, Any], Route, np.random.Generator], None]


def _stamp(message: Message, fault: dict[str, Any], _: Route, __: np.random.Generator) -> None:
    stamp = message.header.stamp
    total = stamp.sec * _NS_PER_S + stamp.nanosec + round(fault["seconds"] * _NS_PER_S)
    stamp.sec, stamp.nanosec = divmod(max(0, total), _NS_PER_S)


def _pixels(message: Message) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).copy()


def _set_pixels(message: Message, pixels: np.ndarray) -> None:
    data = array.array("B")
    data.frombytes(pixels.tobytes())
    message.data = data


def _frozen(message: Message, _: dict[str, Any], route: Route, __: np.random.Generator) -> None:
    if route.held is None:
        route.held = serialize_message(message)
    message.data = deserialize_message(route.held, route.kind).data


def _black(message: Message, _: dict[str, Any], __: Route, ___: np.random.Generator) -> None:
    _set_pixels(message, np.zeros_like(_pixels(message)))


def _bit_flips(message: Message, fault: dict[str, Any], _: Route, rng: np.random.Generator) -> None:
    pixels = _pixels(message)
    hit = np.flatnonzero(rng.random(len(pixels)) < fault["share"])
    pixels[hit] ^= (1 << rng.integers(0, 8, len(hit))).astype(np.uint8)
    _set_pixels(message, pixels)


def _truncated(message: Message, fault: dict[str, Any], _: Route, __: np.random.Generator) -> None:
    pixels = _pixels(message)
    _set_pixels(message, pixels[: int(len(pixels) * fault["share"])])


def _encoding(message: Message, fault: dict[str, Any], _: Route, __: np.random.Generator) -> None:
    message.encoding = fault["name"]


def _size(message: Message, fault: dict[str, Any], _: Route, __: np.random.Generator) -> None:
    """A whole image, but of another size."""
    message.height, message.width = fault["height"], fault["width"]
    message.step = 3 * message.width
    _set_pixels(message, np.full(message.height * message.step, 128, np.uint8))


def _permuted(message: Message, _: dict[str, Any], __: Route, rng: np.random.Generator) -> None:
    """Names and values in another order: not wrong, and it must not matter."""
    order = rng.permutation(len(message.name))
    message.name = [message.name[i] for i in order]
    for part in ("position", "velocity", "effort"):
        values = getattr(message, part)
        if len(values) == len(order):
            setattr(message, part, [values[i] for i in order])


def _missing(message: Message, fault: dict[str, Any], _: Route, __: np.random.Generator) -> None:
    for part in ("name", "position", "velocity", "effort"):
        setattr(message, part, list(getattr(message, part))[: -fault["count"]])


def _not_finite(
    message: Message, fault: dict[str, Any], _: Route, rng: np.random.Generator
) -> None:
    value = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[fault["value"]]
    if hasattr(message, "pose"):
        setattr(message.pose.position, "xyz"[int(rng.integers(3))], value)
    else:
        positions = list(message.position)
        positions[int(rng.integers(len(positions)))] = value
        message.position = positions


def _clock(message: Message, fault: dict[str, Any], _: Route, __: np.random.Generator) -> None:
    time = message.clock
    total = time.sec * _NS_PER_S + time.nanosec + round(fault["seconds"] * _NS_PER_S)
    time.sec, time.nanosec = divmod(max(0, total), _NS_PER_S)


def _not_finite_plan(
    message: Message, _: dict[str, Any], __: Route, rng: np.random.Generator
) -> None:
    for point in message.points:
        velocities = list(point.velocities)
        velocities[int(rng.integers(len(velocities)))] = float(rng.choice([math.nan, math.inf]))
        point.velocities = velocities


_CHANGES: dict[str, Change] = {
    "clock": _clock,
    "not_finite_plan": _not_finite_plan,
    "stamp": _stamp,
    "frozen": _frozen,
    "black": _black,
    "bit_flips": _bit_flips,
    "truncated": _truncated,
    "encoding": _encoding,
    "size": _size,
    "permuted": _permuted,
    "missing": _missing,
    "not_finite": _not_finite,
}


def _begin(begin: dict[str, Any]) -> Relay:
    return Relay({name: tuple(route) for name, route in begin["routes"].items()}, begin["seed"])


def _reply(relay: Relay, request: dict[str, Any]) -> str:
    for name in request["routes"]:
        relay.set_fault(name, {k: v for k, v in request.items() if k != "routes"})
    return "done"


if __name__ == "__main__":
    use_realtime_priority(_PRIORITY)  # where the system allows it: a wire waits for no processor
    serve(_begin, _reply)
