"""Talk to a running graph from a program: arm it, give it goals, watch what it does."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from controller.configurator import load_task
from ros_nodes import qos
from ros_nodes.convert import (
    array_to_image,
    diagnostic_values,
    image_to_array,
    labelled_array_to_values,
)
from ros_nodes.graph import GraphError
from ros_nodes.process import Spinner
from ros_nodes.transport import transport_environment

Response = TypeVar("Response")
_KEPT = 20_000  # reports and command times: over half an hour of plans, minutes of commands
_RATE_WINDOW_S = 2.0
_ASK_EVERY_S = 1.0


@dataclass(frozen=True)
class PlanReport:
    """What the agent said about one plan.

    Attributes:
        status: a `controller.types.PlanStatus` value, ``BAD_OBSERVATION`` or ``MODEL_FAILED``.
        received_s: `time.monotonic` of its arrival here.
        frame_stamp_ns: capture time of the frame it was made from.
        goal_stamp_ns: stamp of the goal it pursues, as `GraphClient.set_goal` returned it; 0: none.
        values: numbers such as ``plan_ms``, ``latency_ms`` (capture of the frame to plan sent),
            ``cost``, ``cost.<term>``, ``iterations``.
        task: name of the task in force; empty without one.
        goal: the goal in force, in words.
    """

    status: str
    received_s: float
    frame_stamp_ns: int
    goal_stamp_ns: int
    values: Mapping[str, float]
    task: str = ""
    goal: str = ""

    @property
    def usable(self) -> bool:
        """True when the robot follows it."""
        return self.status in ("OK", "BEST_SO_FAR", "LEAST_VIOLATION")


class GraphClient:
    """A node of its own in the calling process. Any thread may use it.

    Use it as a context manager, inside that of the graph.
    """

    def __init__(self, domain_id: int, camera: str = "scene", namespace: str = "") -> None:
        """Join a graph that `ros_nodes.graph` started on this machine.

        This sets ROS and Fast DDS variables in ``os.environ``: they must be those of the graph.

        Args:
            domain_id: `Graph.domain_id`.
            camera: whose frames to keep and whose goal images to send.
            namespace: of the robot, where there are several.
        """
        os.environ.update(transport_environment(domain_id))
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=domain_id)
        self._node = Node(
            "graph_client",
            context=self._context,
            namespace=namespace,
            start_parameter_services=False,
        )
        self._arrived = threading.Condition()
        self._truth: dict[str, float] | None = None
        self._truth_s = float("-inf")
        self._frame: NDArray[np.uint8] | None = None
        self._command_status: dict[str, str] = {}
        self._reports: deque[PlanReport] = deque(maxlen=_KEPT)
        self._command_times_s: deque[float] = deque(maxlen=_KEPT)
        node = self._node
        self._camera = camera
        self._goals: dict[str, Publisher] = {}  # by camera
        node.create_subscription(DiagnosticArray, "plan_status", self._on_plan, qos.STATE)
        node.create_subscription(
            DiagnosticArray, "command_node/status", self._on_command_status, qos.STATE
        )
        node.create_subscription(Float64MultiArray, "evaluation/truth", self._on_truth, qos.STATE)
        node.create_subscription(
            TwistStamped, "servo_node/delta_twist_cmds", self._on_command, qos.COMMAND_LOG
        )
        node.create_subscription(Image, f"{camera}/image_raw", self._on_frame, qos.SENSOR)
        self._tasks: Publisher = node.create_publisher(String, "task", qos.LATCHED)
        self._arm = node.create_client(SetBool, "command_node/arm")
        self._estop = node.create_client(Trigger, "command_node/estop")
        self._clear_estop = node.create_client(Trigger, "command_node/clear_estop")
        self._reset = node.create_client(Trigger, "sim_node/reset")
        self._set_parameters = node.create_client(SetParameters, "sim_node/set_parameters")
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(node)
        self._spinner = Spinner(executor)

    def __enter__(self) -> GraphClient:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the graph."""
        self.close()

    def close(self) -> None:
        """Leave the graph."""
        self._spinner.stop()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def arm(self, armed: bool = True, timeout_s: float = 5.0) -> None:
        """Allow motion, or end it: the tool then brakes and no more commands are sent.

        Asks again while it is refused: on a loaded machine a pose may come a moment too late.

        Raises:
            GraphError: no answer, or refused all the time because there is no fresh tool pose.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            response = _call(self._arm, SetBool.Request(data=armed), SetBool.Response, timeout_s)
            if response.success:
                return
            if time.monotonic() > deadline_s:
                raise GraphError(f"command_node: {response.message}")
            time.sleep(0.02)

    def estop(self, timeout_s: float = 5.0) -> None:
        """Latch the e-stop: the next command is zero, without a ramp.

        Raises:
            GraphError: no answer.
        """
        _call(self._estop, Trigger.Request(), Trigger.Response, timeout_s)

    def publisher(self, kind: type[Any], topic: str, quality: QoSProfile) -> Publisher:
        """A publisher of this client's node, for what has no method here.

        Args:
            kind: of the messages.
            topic: its name, in the client's namespace.
            quality: of service.
        """
        return self._node.create_publisher(kind, topic, quality)

    def clear_estop(self, timeout_s: float = 5.0) -> None:
        """Clear a latched e-stop, as a person would; the robot must then be armed again.

        Raises:
            GraphError: no answer.
        """
        _call(self._clear_estop, Trigger.Request(), Trigger.Response, timeout_s)

    def reset_world(self, seed: int, timeout_s: float = 10.0) -> None:
        """Let the simulated world start over, as ``env.reset(seed=seed)`` does.

        Raises:
            GraphError: no answer.
        """
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
        request = SetParameters.Request(parameters=[Parameter(name="seed", value=value)])
        answer = _call(self._set_parameters, request, SetParameters.Response, timeout_s)
        result = answer.results[0]
        if not result.successful:
            raise GraphError(f"sim_node: seed {seed}: {result.reason}")
        response = _call(self._reset, Trigger.Request(), Trigger.Response, timeout_s)
        if not response.success:
            raise GraphError(f"sim_node: {response.message}")

    def set_task(self, path: Path, timeout_s: float = 10.0) -> None:
        """Let the agent change to a task file.

        Args:
            path: of a task with a name of its own, or whose file name is not that of the task in
                force.
            timeout_s: patience until a plan is made for it.

        Raises:
            ConfigError: the file cannot be used.
            GraphError: it was not taken up; the agent's log says why.
        """
        name = load_task(path).name
        self._tasks.publish(String(data=str(path.resolve())))
        deadline_s = time.monotonic() + timeout_s
        with self._arrived:
            while not (self._reports and self._reports[-1].task == name):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise GraphError(f"task not taken up within {timeout_s:g} s: {path}")
                self._arrived.wait(left_s)

    def set_goal(
        self, image: NDArray[np.uint8] | Mapping[str, NDArray[np.uint8]], timeout_s: float = 5.0
    ) -> int:
        """Give the agent a goal image and wait for its first plan towards it.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, of the size the bundle's camera has; for a bundle with
                several, one for each of their names.
            timeout_s: how long to wait.

        Returns:
            the goal's stamp, which every `PlanReport` towards it carries.

        Raises:
            GraphError: the agent does not take it up; its log says why.
        """
        stamp_ns = self._node.get_clock().now().nanoseconds
        images = image if isinstance(image, Mapping) else {self._camera: image}
        for camera, pixels in images.items():
            if camera not in self._goals:
                topic = f"{camera}/goal_image"
                self._goals[camera] = self._node.create_publisher(Image, topic, qos.LATCHED)
            self._goals[camera].publish(array_to_image(pixels, stamp_ns, "goal"))
        deadline_s = time.monotonic() + timeout_s
        with self._arrived:
            taken_up = self._arrived.wait_for(
                lambda: bool(self._reports) and self._reports[-1].goal_stamp_ns == stamp_ns,
                deadline_s - time.monotonic(),
            )
        if not taken_up:
            last = "no plan status at all"
            if report := self.plan_status:
                ago_s = time.monotonic() - report.received_s
                last = f"last: {report.status}, {ago_s:.1f} s ago"
            raise GraphError(f"agent_node: goal not taken up in {timeout_s:.0f} s ({last})")
        return stamp_ns

    def plan_reports(self, goal_stamp_ns: int | None = None) -> list[PlanReport]:
        """What the agent said about its plans so far, oldest first.

        Args:
            goal_stamp_ns: only those towards this goal; ``None`` for all.
        """
        with self._arrived:
            reports = list(self._reports)
        return [r for r in reports if goal_stamp_ns in (None, r.goal_stamp_ns)]

    @property
    def plan_status(self) -> PlanReport | None:
        """The newest of `plan_reports`."""
        with self._arrived:
            return self._reports[-1] if self._reports else None

    @property
    def truth(self) -> dict[str, float] | None:
        """The newest truth of the simulation, for evaluation: ``tool_position_m.x`` and so on."""
        return self._truth

    @property
    def frame(self) -> NDArray[np.uint8] | None:
        """The newest camera frame ``(H, W, 3)`` uint8 RGB."""
        return self._frame

    @property
    def command_status(self) -> dict[str, str]:
        """The newest status of the command node: ``state``, ``lateness_p99_ms`` and so on."""
        return self._command_status

    def command_rate_hz(self, window_s: float = _RATE_WINDOW_S) -> float:
        """Commands per second that arrived here, over the last seconds."""
        since_s = time.monotonic() - window_s
        with self._arrived:
            times_s = [t for t in self._command_times_s if t >= since_s]
        if len(times_s) < 2:
            return 0.0
        return (len(times_s) - 1) / (times_s[-1] - times_s[0])

    def wait_for_truth(self, timeout_s: float = 5.0) -> dict[str, float]:
        """The next truth that arrives from now on.

        Raises:
            GraphError: none came.
        """
        begin_s = time.monotonic()
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._truth_s > begin_s, timeout_s):
                raise GraphError(f"sim_node: no truth in {timeout_s:.0f} s")
            assert self._truth is not None
            return self._truth

    # Executor thread

    def _on_plan(self, message: DiagnosticArray) -> None:
        texts = diagnostic_values(message)
        numbers = {key: _number(text) for key, text in texts.items()}
        try:
            report = PlanReport(
                status=texts["status"],
                received_s=time.monotonic(),
                frame_stamp_ns=int(texts["frame_stamp_ns"]),
                goal_stamp_ns=int(texts["goal_stamp_ns"]),
                values={key: number for key, number in numbers.items() if number is not None},
                task=texts.get("task", ""),
                goal=texts.get("goal", ""),
            )
        except (KeyError, ValueError):  # what is not from an agent must not end this thread
            return
        with self._arrived:
            self._reports.append(report)
            self._arrived.notify_all()

    def _on_command_status(self, message: DiagnosticArray) -> None:
        self._command_status = diagnostic_values(message)

    def _on_truth(self, message: Float64MultiArray) -> None:
        try:
            values = labelled_array_to_values(message)
        except ValueError:
            return
        with self._arrived:
            self._truth, self._truth_s = values, time.monotonic()
            self._arrived.notify_all()

    def _on_command(self, _: TwistStamped) -> None:
        with self._arrived:
            self._command_times_s.append(time.monotonic())

    def _on_frame(self, message: Image) -> None:
        # A camera that sends nonsense must not end this thread, which hears everything else too.
        with contextlib.suppress(ValueError):
            self._frame = image_to_array(message)


def _call(client: Client, request: object, kind: type[Response], timeout_s: float) -> Response:
    """Call a service and wait for its answer, of type ``kind``.

    Asked again every second: a node that was killed is still offered for a while, and does not
    answer.
    """
    name = client.srv_name
    deadline_s = time.monotonic() + timeout_s
    if not client.wait_for_service(timeout_s):
        raise GraphError(f"service {name}: not there after {timeout_s:.0f} s")
    while (left_s := deadline_s - time.monotonic()) > 0:
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _, answered=answered: answered.set())
        if answered.wait(min(_ASK_EVERY_S, left_s)):
            response = future.result()
            assert isinstance(response, kind)
            return response
        client.remove_pending_request(future)
    raise GraphError(f"service {name}: no answer in {timeout_s:.0f} s")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
