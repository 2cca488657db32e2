"""Brings the nodes of one robot up, keeps them up, and stops the robot when one is lost.

Start it with one parameter file for all: its own ROS arguments (parameter files, remappings,
namespace) are also those of the nodes it starts, and so are the ``remappings`` in its section of
the file. A node that dies is started again, at once if it
had worked and ever more slowly if it keeps failing; a `command_node` that was started again is not
armed. What is done when the command node is lost is in `ros_nodes.command_watch`.

Subscribes: ``/diagnostics``; the robot's commands; ``command_node/status``.
Publishes: ``diagnostics_agg`` (DiagnosticArray, 1 Hz, as ROS's diagnostic_aggregator) and
``diagnostics_toplevel_state``; ``estop`` and the robot's commands when `command_node` is lost.
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from ros_nodes import qos
from ros_nodes.children import Child, ChildError, start_child
from ros_nodes.command_watch import CommandWatch
from ros_nodes.convert import diagnostics, ns_to_stamp
from ros_nodes.diagnostics_tree import DiagnosticsTree
from ros_nodes.keeper import ChildState, Keeper, RestartPolicy
from ros_nodes.params import (
    CommandParameters,
    ParameterError,
    SupervisorParameters,
    declare_parameters,
)
from ros_nodes.process import (
    Spinner,
    never_wait_for_output,
    run_node,
    steady_timer,
    use_realtime_priority,
)
from ros_nodes.process_watch import identity
from ros_nodes.robot_file import node_like, parameters_of, remapping_arguments, ros_arguments
from ros_nodes.transport import ESTOP_LATCHED, SUPERVISOR, remove_orphaned_shared_memory

_LEVELS = {
    ChildState.RUNNING: DiagnosticStatus.OK,
    ChildState.STARTING: DiagnosticStatus.WARN,
    ChildState.STOPPED: DiagnosticStatus.ERROR,
    ChildState.WAITING: DiagnosticStatus.ERROR,
    ChildState.ENDED: DiagnosticStatus.WARN,
}
_SWITCH_INTERVAL_S = 0.0002
_SWEEPS = 2  # looks for what a killed node left in shared memory, one a second
# But not while its successor comes up: it takes over the same ports, and a file that is looked at
# in that moment cannot be opened by it, which nobody would ever hear of then.
_SWEEP_AFTER_S = 5.0
_SILENT_TICKS = 3  # commands come with a tick between them, and one may be late


class SupervisorNode(Node):
    """See the module's text. Everything public is called by `run_node` on the main thread."""

    def __init__(self, stop: threading.Event) -> None:
        """Read the parameters; nothing is started yet.

        Args:
            stop: set when the supervisor is to end, also while `start` waits for the nodes.

        Raises:
            ValueError: a parameter, one of the command node's included, cannot be used.
        """
        super().__init__("supervisor_node", automatically_declare_parameters_from_overrides=True)
        self._given = given = declare_parameters(self, SupervisorParameters)
        self._stop = stop
        self._started_at = time.time()
        self._sweeps = 0
        self._lost_s = 0.0  # monotonic, when a node was lost the last time
        self._run_dir = Path(given.run_dir) if given.run_dir else None
        sim_time = str(self.get_parameter("use_sim_time").value).lower()
        namespace, arguments = self.get_namespace(), ros_arguments(sys.argv)
        # What the file says of the robot's topics counts for a supervisor of another name too. Of
        # rules for the same topic ROS follows the first.
        robot = parameters_of("supervisor_node", SupervisorParameters, namespace, arguments)
        self._arguments = [
            *arguments,
            *remapping_arguments(dict.fromkeys((*given.remappings, *robot.remappings))),
            *("-p", f"use_sim_time:={sim_time}"),
            *self._write_settings(),
        ]
        self._tree = DiagnosticsTree(self.get_namespace())
        self._keepers = {name: self._keeper(name) for name in given.nodes}
        self._watch: CommandWatch | None = None
        self._watch_node: Node | None = None
        self._watch_spinner: Spinner | None = None
        if "command_node" in self._keepers:
            kill = self._keepers["command_node"].kill
            command = parameters_of("command_node", CommandParameters, namespace, self._arguments)
            node = node_like("command_watch", namespace, self._arguments)
            if given.silence_s < _SILENT_TICKS / command.rate_hz:
                raise ParameterError(
                    f"parameter silence_s: {given.silence_s} s is less than {_SILENT_TICKS} ticks "
                    f"of command_node's rate_hz {command.rate_hz:g}"
                )
            self._watch = CommandWatch(node, command, given.silence_s, kill)
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            self._watch_node, self._watch_spinner = node, Spinner(executor)
        self._states = self.create_publisher(DiagnosticArray, "diagnostics_agg", qos.STATE)
        self._worst = self.create_publisher(
            DiagnosticStatus, "diagnostics_toplevel_state", qos.STATE
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.STATE)
        self.create_subscription(
            DiagnosticArray,
            "/diagnostics",
            lambda message: self._tree.add(message, time.monotonic()),
            qos.STATE,
        )
        steady_timer(self, 1.0, self._tick)

    def start(self) -> None:
        """Start the nodes and wait until each is ready.

        Raises:
            ValueError: one of them did not come up; says which and why.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        never_wait_for_output()
        for keeper in self._keepers.values():
            keeper.start()
        for keeper in self._keepers.values():
            try:
                while not keeper.wait_started(0.1):
                    if self._stop.is_set():
                        return
            except ChildError as error:
                raise ValueError(str(error)) from error
        if self._watch is not None:
            self._watch.start()
        # What it starts must not get this priority: the planner would starve the command node.
        use_realtime_priority(self._given.realtime_priority, children=False)

    def stop(self) -> None:
        """End the nodes, last started first, but before all of them the one that brakes."""
        if self._watch is not None:
            self._watch.stop()
        last_first = reversed(self._keepers.values())
        for keeper in sorted(last_first, key=lambda keeper: keeper.name != "command_node"):
            code = keeper.end()
            if code:
                self.get_logger().error(f"{keeper.name} did not end cleanly ({code})")
            if keeper.name == "command_node" and self._watch is not None:
                self._watch.command_ended()
        if self._watch_spinner is not None and self._watch_node is not None:
            self._watch_spinner.stop()
            self._watch_node.destroy_node()

    def _keeper(self, name: str) -> Keeper:
        log = pid_file = None
        if self._run_dir is not None:
            place = f"{self.get_namespace().strip('/')}/{name}".lstrip("/")
            log, pid_file = self._run_dir / "logs" / f"{place}.log", self._run_dir / "pids" / place
            for file in (log, pid_file):
                file.parent.mkdir(parents=True, exist_ok=True)
        given = self._given

        def start() -> Child:
            watch = self._watch if name == "command_node" else None
            told = {SUPERVISOR: identity()}
            if watch is not None:
                told[ESTOP_LATCHED] = str(watch.starts()).lower()
            child = start_child(name, self._arguments, {**os.environ, **told}, log)
            if watch is not None:
                watch.started(child.process.pid)
            return child

        return Keeper(
            name,
            start,
            RestartPolicy(longest_s=given.longest_delay_s, start_timeout_s=given.start_timeout_s),
            fail_stop=name == "command_node",
            on_lost=lambda: self._on_lost(name),
            say=self.get_logger().warning,
            pid_file=pid_file,
        )

    def _write_settings(self) -> list[str]:
        """The parameter ``settings`` as arguments: a parameter file."""
        content: dict[str, dict[str, dict[str, object]]] = {}
        for setting in filter(None, self._given.settings):
            name, assigned, value = setting.partition(":=")
            node, dot, parameter = name.partition(".")
            if not (node and assigned and dot and parameter):
                raise ValueError(f"parameter settings: {setting!r} is not node.parameter:=value")
            if value:
                section = content.setdefault(f"/**/{node}", {"ros__parameters": {}})
                section["ros__parameters"][parameter] = yaml.safe_load(value)
        if not content:
            return []
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
            yaml.safe_dump(content, file)
        atexit.register(Path(file.name).unlink, missing_ok=True)
        return ["--params-file", file.name]

    # Threads of the keepers

    def _on_lost(self, name: str) -> None:
        self._sweeps, self._lost_s = _SWEEPS, time.monotonic()
        if name == "command_node" and self._watch is not None:
            self._watch.command_lost()

    # Executor thread

    def _tick(self) -> None:
        now_ns, now_s = self.get_clock().now().nanoseconds, time.monotonic()
        for keeper in self._keepers.values():
            values = {
                "state": keeper.state.value,
                "pid": keeper.pid,
                "restarts": keeper.restarts,
                "problem": keeper.problem,
            }
            name = f"{self.get_fully_qualified_name()}/{keeper.name}".lstrip("/")
            level = _LEVELS[keeper.state]
            report = diagnostics(now_ns, name, keeper.state.value, values, level)
            self._diagnostics.publish(report)
        message = DiagnosticArray(status=self._tree.statuses(now_s))
        message.header.stamp = ns_to_stamp(now_ns)
        self._states.publish(message)
        self._worst.publish(message.status[0])
        all_run = all(keeper.state is ChildState.RUNNING for keeper in self._keepers.values())
        if self._sweeps and all_run and now_s - self._lost_s > _SWEEP_AFTER_S:
            self._sweeps -= 1
            remove_orphaned_shared_memory(self._started_at)


def main() -> None:
    """Entry point."""
    stop = threading.Event()
    sys.exit(run_node("supervisor_node", lambda: SupervisorNode(stop), stop=stop))


if __name__ == "__main__":
    main()
