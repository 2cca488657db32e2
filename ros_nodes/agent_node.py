"""The agent as a lifecycle node: frames and readings in, plans out; it never commands the robot.

Two threads: the executor's fills latest-value buffers, the planning one waits for a new frame and
runs `controller.agent.Agent` on it, inside calls that release the interpreter.

Subscribes: per camera of the bundle ``<camera>/image_raw``, ``<camera>/image_raw/compressed`` and
the latched ``<camera>/goal_image``; ``joint_states``, ``tool_pose``, ``odom``; for what was really
applied ``servo_node/delta_twist_cmds`` or, of joints and bases, ``command_node/applied``, and
``command_node/applied_gripper``;
``task`` (String, latched): a task file to change to while it runs; ``goal_file`` (String, latched):
an image file as the goal, with ``{camera}`` in its name where there are several. Images of another
size than the bundle's are brought to it as on the import of its data (`world_model.image_fit`).
Service: ``~/set_goal`` (Trigger): what the cameras see now is the goal.
Publishes: ``plan`` (JointTrajectory), ``plan_status`` (DiagnosticArray, with every plan),
``plan_markers`` (MarkerArray: the way of the tool that the plan asks for), ``~/process`` (String,
latched: who this is, for `command_node` to watch), ``/diagnostics`` (1 Hz).
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, TwistStamped
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from controller.frozen import FrozenCamera
from controller.goals import GoalConfig
from controller.memory import AppliedCommand
from controller.types import NS_PER_S, Observation, Plan, PlanStatus
from ros_nodes import qos
from ros_nodes.command_interfaces import APPLIED_GRIPPER_TOPIC, APPLIED_TOPIC, TWIST_TOPIC
from ros_nodes.convert import (
    BASE_ACTIONS,
    action_axes,
    base_axes,
    diagnostics,
    plan_to_trajectory,
    pose_to_position,
    split_gripper,
    stamp_to_ns,
    status_name,
    twist_to_base,
    twist_to_velocity,
)
from ros_nodes.image_fitter import ImageFitter
from ros_nodes.latest_images import ImageSet, LatestImages
from ros_nodes.loaded_agent import LoadedAgent
from ros_nodes.markers import path_markers, tool_path
from ros_nodes.params import AgentParameters, declare_parameters
from ros_nodes.plan_status import goal_in_words, level, plan_values
from ros_nodes.process import run_node, steady_timer, use_realtime_priority
from ros_nodes.process_watch import identity
from ros_nodes.readings import ReadingBuffer, assemble_proprio
from ros_nodes.resources import load_goal_images

Message = TypeVar("Message")
_COMMANDS_KEPT = 1000
_STEP_TIMES_KEPT = 200
_NOW_S = 1.0  # what a camera shows now is no older than that
# What was told to arm and gripper at one time comes in two messages.
_GRIPPER_SKEW_NS = 150_000_000
# How long the executor may hold the interpreter when the planner comes back from the model, which
# it does some fifty times a plan. Python's default of 5 ms would be most of the plan's time.
_SWITCH_INTERVAL_S = 0.0002


class AgentNode(LifecycleNode):
    """See the module's text. Lifecycle callbacks run on the executor's or the main thread."""

    def __init__(self) -> None:
        """Declare parameters; models are loaded on configure."""
        super().__init__("agent_node", automatically_declare_parameters_from_overrides=True)
        self._given = declare_parameters(self, AgentParameters)
        _answer_wrong_transitions(self)
        self._problem = ""  # why configuring failed
        self._fitter = ImageFitter(lambda text: self.get_logger().info(text))
        self._loaded: LoadedAgent | None = None
        self._axes: list[int] = []
        self._drives = False  # a base; otherwise it moves a tool
        self._grips = False  # the last action opens a gripper
        self._gripper = (0, 0.0)  # stamp, ns, and the speed at which it was told to open, m/s
        self._subscribed: list[Subscription] = []
        self._thread: threading.Thread | None = None
        self._latest = LatestImages((), 0)
        self._goal_stamp_ns = 0
        self._frozen = FrozenCamera(self._given.frozen_after_m)
        self._image_news_ns = 0
        self._joints: ReadingBuffer[JointState] = ReadingBuffer()
        self._poses: ReadingBuffer[PoseStamped] = ReadingBuffer()
        self._odometry: ReadingBuffer[Odometry] = ReadingBuffer()
        self._applied: deque[AppliedCommand] = deque(maxlen=_COMMANDS_KEPT)
        self._status = PlanStatus.NO_GOAL.value
        self._step_s: deque[float] = deque(maxlen=_STEP_TIMES_KEPT)
        self._plans_made = 0
        self._plan_publisher = self.create_lifecycle_publisher(JointTrajectory, "plan", qos.COMMAND)
        self._status_publisher = self.create_lifecycle_publisher(
            DiagnosticArray, "plan_status", qos.STATE
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.STATE)
        self._process = self.create_publisher(String, "~/process", qos.LATCHED)
        self._process.publish(String(data=identity()))
        self._markers = self.create_publisher(MarkerArray, "plan_markers", qos.COMMAND)
        self.create_service(Trigger, "~/set_goal", self._on_set_goal)
        steady_timer(self, 1.0, self._publish_diagnostics)

    def start(self) -> None:
        """With ``autostart``, configure and activate.

        Raises:
            ValueError: configuring failed; says why.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        use_realtime_priority(self._given.realtime_priority)
        if not self._given.autostart:
            return
        if self.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            raise ValueError(self._problem)
        self.trigger_activate()

    def stop(self) -> None:
        """End planning; the last thing sent is a plan that says stop."""
        if self._thread is not None:
            self.trigger_deactivate()
        self._close()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm up the model, then listen."""
        try:
            loaded = LoadedAgent(self._given, self._refuse, self._warn, self._fitter)
            self._loaded = loaded
            names = loaded.model.spec.action_names
            self._drives = names[0] in BASE_ACTIONS
            of_arm, self._grips = split_gripper(names)
            self._axes = list(base_axes(of_arm) if self._drives else action_axes(of_arm))
        except Exception as error:  # rclpy would swallow it without a word
            self._problem = " ".join(str(error).split()) or type(error).__name__
            self.get_logger().error(f"not configured: {self._problem}")
            self._close()
            return TransitionCallbackReturn.FAILURE
        spec = loaded.model.spec
        fit = partial(self._fitter, spec)
        self._latest = LatestImages(spec.cameras, self._max_skew_ns, fit)
        self._frozen = FrozenCamera(self._given.frozen_after_m)
        self._goal_stamp_ns = 0
        cameras = ", ".join(f"{c} {h}x{w}" for c, (h, w) in spec.cameras.items())
        self.get_logger().info(f"{loaded.bundle} on {loaded.model.provider}; cameras: {cameras}")
        self._subscribe()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start planning."""
        result = super().on_activate(state)
        self._latest.open()
        self._thread = threading.Thread(target=self._plan_forever, name="planning", daemon=True)
        self._thread.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End planning and say stop."""
        self._end_planning()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the model and all that was seen."""
        for subscription in self._subscribed:
            self.destroy_subscription(subscription)
        self._subscribed = []
        self._close()
        self._applied.clear()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End planning, say stop and forget the model."""
        self._end_planning()
        self._close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End planning and say stop."""
        self._end_planning()
        return super().on_error(state)

    def _close(self) -> None:
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    def _subscribe(self) -> None:
        assert self._loaded is not None
        # Readings before images: of what arrives together, the executor serves the first first.
        self._subscribed = [
            self._listen(String, "task", self._on_task, qos.LATCHED),
            self._listen(String, "goal_file", self._on_goal_file, qos.LATCHED),
            self._listen(JointState, "joint_states", self._on_joints, qos.SENSOR),
            self._listen(PoseStamped, "tool_pose", self._on_pose, qos.SENSOR),
            self._listen(Odometry, "odom", self._on_odometry, qos.SENSOR),
            self._listen(TwistStamped, TWIST_TOPIC, self._on_command, qos.COMMAND_LOG),
            self._listen(TwistStamped, APPLIED_TOPIC, self._on_command, qos.COMMAND_LOG),
            self._listen(JointState, APPLIED_GRIPPER_TOPIC, self._on_gripper, qos.COMMAND_LOG),
        ]
        for camera in self._loaded.model.spec.cameras:
            goal = partial(self._latest.put_goal, camera)
            frame = partial(self._latest.put_frame, camera)
            raw, small = f"{camera}/image_raw", f"{camera}/image_raw/compressed"
            self._subscribed += [
                self._listen(Image, f"{camera}/goal_image", goal, qos.LATCHED),
                self._listen(Image, raw, frame, qos.SENSOR),
                self._listen(CompressedImage, small, frame, qos.SENSOR),
            ]

    def _listen(
        self, kind: type[Message], topic: str, take: Callable[[Message], None], quality: QoSProfile
    ) -> Subscription:
        """Subscribe; a message that cannot be used is dropped and told of."""

        def callback(message: Message) -> None:
            try:
                take(message)
            except Exception as error:  # whatever comes from outside must not end the node
                reason = " ".join(str(error).split())[:200]
                # Not by `_warn`, so that no other trouble of the same second hides it.
                self.get_logger().warning(
                    f"{topic}: message dropped: {reason}", throttle_duration_sec=1.0
                )

        return self.create_subscription(kind, topic, callback, quality)

    def _end_planning(self) -> None:
        if self._thread is None:
            return
        self._latest.close()
        self._thread.join(5.0)
        self._thread = None
        self._publish_stop()

    # Executor thread

    def _on_task(self, message: String) -> None:
        if self._loaded is not None:
            self._loaded.request(Path(message.data))

    def _on_goal_file(self, message: String) -> None:
        if self._loaded is None:
            return
        goal = GoalConfig(image=message.data)
        images = load_goal_images(goal, self._loaded.model, self._fitter)
        self._latest.put_goal_images(images, self.get_clock().now().nanoseconds)

    def _on_set_goal(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._loaded is None:
            response.message = "no model is loaded: configure the node first"
            return response
        since_ns = self.get_clock().now().nanoseconds - round(_NOW_S * NS_PER_S)
        response.success = self._latest.goal_from_frames(since_ns)
        response.message = "what the cameras see now"
        if not response.success:
            response.message = f"a camera has shown nothing in the last {_NOW_S:g} s"
        return response

    def _on_joints(self, message: JointState) -> None:
        self._joints.add(stamp_to_ns(message.header.stamp), message)

    def _on_pose(self, message: PoseStamped) -> None:
        frame, ours = message.header.frame_id, self._given.base_frame
        if frame != ours:
            raise ValueError(
                f"it is in frame {frame!r}, base_frame is {ours!r}: publish it in {ours!r}, or set "
                "base_frame of all nodes to the frame of the bundle's data"
            )
        self._poses.add(stamp_to_ns(message.header.stamp), message)

    def _on_odometry(self, message: Odometry) -> None:
        self._odometry.add(stamp_to_ns(message.header.stamp), message)

    def _on_command(self, message: TwistStamped) -> None:
        applied = twist_to_base(message.twist) if self._drives else twist_to_velocity(message)
        velocity, stamp_ns = applied[self._axes], stamp_to_ns(message.header.stamp)
        if self._grips:
            told_ns, speed_m_s = self._gripper
            fresh = abs(stamp_ns - told_ns) <= _GRIPPER_SKEW_NS
            velocity = np.append(velocity, speed_m_s if fresh else 0.0)
        with np.errstate(over="ignore"):  # too large for the model's numbers is not finite either
            action = velocity.astype(np.float32)
        if np.isfinite(action).all():
            self._applied.append(AppliedCommand(stamp_ns, action))

    def _on_gripper(self, message: JointState) -> None:
        self._gripper = stamp_to_ns(message.header.stamp), float(message.velocity[0])

    def _publish_diagnostics(self) -> None:
        step_ms = 1e3 * np.array(self._step_s or [0.0])
        values: dict[str, object] = {
            "plans": self._plans_made,
            "step_p50_ms": float(np.percentile(step_ms, 50)),
            "step_p99_ms": float(np.percentile(step_ms, 99)),
        }
        now_ns = self.get_clock().now().nanoseconds
        message = diagnostics(now_ns, status_name(self), self._status, values, level(self._status))
        self._diagnostics.publish(message)

    # Planning thread

    def _plan_forever(self) -> None:
        while (arrived := self._latest.wait()) is not None:
            frames, goal = arrived
            self._change_task()
            if goal is not None:
                self._set_goal(goal)
            try:
                self._plan_from(frames)
            except ValueError as error:
                self._no_plan(frames.stamp_ns, "BAD_OBSERVATION", str(error))
            except Exception as error:  # a failing model must stop the robot, not the thread
                reason = f"{type(error).__name__}: {error}"
                self._no_plan(frames.stamp_ns, "MODEL_FAILED", reason)

    def _change_task(self) -> None:
        assert self._loaded is not None
        task = self._loaded.change()
        if task is not None:
            if task.goals:
                self._goal_stamp_ns = 0  # no goal image of the topic is pursued
            self.get_logger().info(f"task {task.name!r}")

    def _set_goal(self, goal: ImageSet) -> None:
        assert self._loaded is not None
        try:
            self._loaded.agent.set_goal(goal.images, "topic")
            self._goal_stamp_ns = goal.stamp_ns
        except Exception as error:
            self._warn(f"goal dropped: {error}")

    def _plan_from(self, frames: ImageSet) -> None:
        assert self._loaded is not None
        agent, spec = self._loaded.agent, self._loaded.model.spec
        begin_s = time.monotonic()
        stamp_ns = frames.stamp_ns
        self._image_news_ns = self._news_ns(frames)
        if self._image_news_ns < stamp_ns:
            self._warn("a camera shows the same picture while the robot moves: is it frozen?")
        if agent.state.frames and stamp_ns < agent.state.frames[-1].stamp_ns:
            self._warn("the clock of the frames went back: memory is emptied, the goal kept")
            agent.clock_went_back()
            self._applied.clear()
        proprio = assemble_proprio(
            spec.proprio_names,
            self._joints.nearest(stamp_ns, self._max_skew_ns),
            self._poses.nearest(stamp_ns, self._max_skew_ns),
            self._odometry.nearest(stamp_ns, self._max_skew_ns),
        )
        now_ns = self.get_clock().now().nanoseconds
        with taken(self._applied) as applied:
            plan = agent.step(Observation(stamp_ns, frames.images, proprio), applied, now_ns)
        self._plan_publisher.publish(
            plan_to_trajectory(plan, spec.action_names, self._given.base_frame)
        )
        self._publish_markers(plan, stamp_ns)
        self._step_s.append(time.monotonic() - begin_s)
        self._plans_made += 1
        end_ns = self.get_clock().now().nanoseconds
        self._publish_status(plan, stamp_ns, now_ns, end_ns, self._loaded.watch())

    def _news_ns(self, frames: ImageSet) -> int:
        """When the cameras last showed anything new; a robot must say where it is to tell."""
        place = self._place(frames.stamp_ns)
        if place is None:
            return frames.stamp_ns
        return self._frozen.news_ns(frames.stamp_ns, frames.images, place)

    def _place(self, stamp_ns: int) -> NDArray[np.float64] | None:
        """Where the tool is, or the base in its odometry, ``(3,)`` m, if that is known."""
        if self._drives:
            odometry = self._odometry.nearest(stamp_ns, self._max_skew_ns)
            return None if odometry is None else pose_to_position(odometry.pose)
        pose = self._poses.nearest(stamp_ns, self._max_skew_ns)
        return None if pose is None else pose_to_position(pose)

    def _publish_markers(self, plan: Plan, stamp_ns: int) -> None:
        place = None if self._drives else self._place(stamp_ns)
        if place is not None and plan.usable and self._markers.get_subscription_count():
            path = tool_path(plan, self._axes, place)
            self._markers.publish(path_markers(path, self._given.base_frame, plan.start_ns))

    def _publish_status(
        self, plan: Plan, stamp_ns: int, begin_ns: int, end_ns: int, surprise: float | None
    ) -> None:
        self._status = plan.status.value
        values = self._begun(self._status, stamp_ns) | plan_values(plan)
        values |= {
            "step_ms": 1e3 * self._step_s[-1],
            "observation_age_ms": (begin_ns - stamp_ns) / 1e6,
            "latency_ms": (end_ns - stamp_ns) / 1e6,
            "lead_ms": (plan.start_ns - end_ns) / 1e6,
            "surprise": surprise or 0.0,
            "surprise_known": int(surprise is not None),
        }
        message = diagnostics(end_ns, status_name(self), self._status, values, level(self._status))
        self._status_publisher.publish(message)

    def _no_plan(self, stamp_ns: int, status: str, reason: str) -> None:
        self._publish_stop()
        self._status = status
        self._warn(f"no plan: {reason}")
        now_ns = self.get_clock().now().nanoseconds
        values = self._begun(status, stamp_ns) | {"reason": reason}
        message = diagnostics(now_ns, status_name(self), status, values, DiagnosticStatus.ERROR)
        self._status_publisher.publish(message)

    def _begun(self, status: str, stamp_ns: int) -> dict[str, object]:
        """What is said of every frame that was planned from, or was to be."""
        assert self._loaded is not None
        return {
            "status": status,
            "task": self._loaded.task,
            "goal": goal_in_words(self._loaded.agent),
            "frame_stamp_ns": stamp_ns,
            "image_news_ns": min(stamp_ns, self._image_news_ns),
            "goal_stamp_ns": self._goal_stamp_ns,
        }

    def _publish_stop(self) -> None:
        assert self._loaded is not None
        self._loaded.agent.forget_plans()
        message = JointTrajectory(joint_names=list(self._loaded.model.spec.action_names))
        message.header.frame_id = self._given.base_frame
        message.header.stamp = self.get_clock().now().to_msg()
        self._plan_publisher.publish(message)

    @property
    def _max_skew_ns(self) -> int:
        return round(self._given.max_reading_skew_s * NS_PER_S)

    def _refuse(self, reason: str) -> None:
        self.get_logger().error(f"not changed: {reason}")

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=1.0)


@contextmanager
def taken(queue: deque[AppliedCommand]) -> Iterator[list[AppliedCommand]]:
    """All that is in a queue, taken out; put back where what is done with it fails."""
    items = [queue.popleft() for _ in range(len(queue))]
    try:
        yield items
    except Exception:
        # Newest last: where there is no room for all, the oldest go.
        newer = [queue.popleft() for _ in range(len(queue))]
        queue.extend([*items, *newer])
        raise


def _answer_wrong_transitions(node: LifecycleNode) -> None:
    """Say no to a transition the state does not allow; rclpy 7.1 raises and ends the executor."""
    service = next(s for s in node.services if s.srv_name.endswith("/change_state"))
    change = service.callback

    def answer(request: ChangeState.Request, response: ChangeState.Response) -> object:
        try:
            return change(request, response)
        except RuntimeError as error:
            node.get_logger().warning(f"transition refused: {error}")
            response.success = False
            return response

    service.callback = answer  # type: ignore[assignment]


def main() -> None:
    """Entry point."""
    sys.exit(run_node("agent_node", AgentNode))


if __name__ == "__main__":
    main()
