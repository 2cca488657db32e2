"""The life of a single node: bad input, killed nodes, killed starters, and what they leave."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from waiting import PATIENCE_S, eventually

from ros_nodes.children import start_child
from ros_nodes.graph import Graph, GraphError, NodeSpec
from ros_nodes.params import CommandParameters, RecorderParameters
from ros_nodes.transport import free_domain_id, transport_environment


def shared_memory() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if "fastrtps" in name}


def mapped_shared_memory(pid: int) -> set[str]:
    """The files of Fast DDS that a process holds; other graphs may be running beside ours."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    names = {line.rsplit("/", 1)[1] for line in lines if "/dev/shm/" in line}
    return {name for name in names if "fastrtps" in name}


def gone(pid: int) -> bool:
    """Whether a process has ended; it may still be waiting to be collected by init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_output_that_nobody_reads_holds_up_nobody(tmp_path):
    code = textwrap.dedent("""
        import ctypes, os, sys
        from pathlib import Path
        from ros_nodes.process import never_wait_for_output
        os.write(2, b"before\\n")
        never_wait_for_output()
        write = ctypes.PyDLL(None).dprintf  # holds the interpreter's lock, as rclpy's log does
        for _ in range(100_000):
            write(2, b"a line of a log that is as long as most of them are\\n")
        Path(sys.argv[1]).write_text("done")
        os._exit(0)
    """)
    command = [sys.executable, "-c", code, str(tmp_path / "done")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / "done").read_text() == "done"


def test_the_last_words_are_read():
    code = "from ros_nodes.process import *; never_wait_for_output(); print('out'); sys.exit('err')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "out\n", "err\n")


def test_the_supervisor_ends_command_node_first_wherever_it_is_named(tmp_path):
    run_dir, pids = tmp_path / "run", tmp_path / "run" / "pids"
    arguments = (
        *("-p", "nodes:=['command_node', 'recorder_node']", "-p", f"run_dir:={run_dir}"),
        *("-p", f"settings:=['recorder_node.path:={tmp_path / 'bag'}']"),
    )
    environment = {**os.environ, **transport_environment(free_domain_id())}
    child = start_child("supervisor_node", arguments, environment, tmp_path / "log")
    try:
        assert child.reported(PATIENCE_S)
        child.take_report()
        child.process.send_signal(signal.SIGINT)
        while (pids / "command_node").exists():  # the recorder's patience is not the robot's
            assert (pids / "recorder_node").exists() or not (pids / "command_node").exists()
    finally:
        code = child.end()
    assert code == 0, (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("node", "arguments", "line"),
    [
        ("command_node", ["-p", "rate_h:=100.0"], "unknown parameter rate_h; did you mean rate_hz"),
        ("command_node", ["-p", "rate_hz:=1.0"], "rate_hz: 1.0 is not in [10.0, 1000.0]"),
        ("sim_node", ["-p", "env_id:=foresee/Reac-v0"], "Did you mean: `Reach`"),
        (
            *("sim_node", ["-p", "env_id:=foresee/TwoRooms-v0"]),
            "TwoRooms-v0: action 'base.vx' is not a tool velocity",
        ),
        ("agent_node", ["-p", "bundle:=/nowhere"], "/nowhere: no such bundle folder"),
        ("recorder_node", ["-p", "path:=/dev/null/bag"], "Not a directory"),
        ("supervisor_node", ["-p", "silence_s:=0.02"], "silence_s: 0.02 s is less than 3 ticks"),
        ("supervisor_node", ["-p", "remappings:=['odom']"], "'odom' is not ours:=theirs"),
        ("supervisor_node", ["-p", "remappings:=['a b:=c']"], "parse remap rule: '-r a b:=c'"),
        ("command_node", ["--params-file", "/nowhere.yaml"], "Couldn't parse params file"),
        ("command_node", ["--no-such-option"], "no-such-option"),
    ],
)
def test_bad_parameters_end_with_one_line_and_status_2(node, arguments, line):
    done = subprocess.run(
        [sys.executable, "-m", f"ros_nodes.{node}", "--ros-args", *arguments],
        env={**os.environ, **transport_environment(free_domain_id())},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_a_killed_node_is_noticed_and_its_shared_memory_removed(tmp_path):
    with Graph(
        [NodeSpec("recorder_node", RecorderParameters(path=str(tmp_path / "bag")))], tmp_path
    ) as graph:
        graph.wait_ready(PATIENCE_S)
        files = mapped_shared_memory(graph.pids["recorder_node"])
        assert files
        os.kill(graph.pids["recorder_node"], signal.SIGKILL)
        assert eventually(lambda: _has_ended(graph))
        with pytest.raises(GraphError, match=r"^recorder_node has ended \(SIGKILL\)"):
            graph.check()
        assert files & shared_memory()  # a killed process cannot tidy up
        assert graph.stop() == {"recorder_node": -signal.SIGKILL}
    assert not files & shared_memory()


def _has_ended(graph: Graph) -> bool:
    with contextlib.suppress(GraphError):
        graph.check()
        return False
    return True


def test_nodes_end_when_their_starter_is_killed(tmp_path):
    script = tmp_path / "starter.py"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from ros_nodes.graph import Graph, NodeSpec
        from ros_nodes.params import RecorderParameters
        recorder = NodeSpec("recorder_node", RecorderParameters(path=sys.argv[1] + "/bag"))
        graph = Graph([recorder], Path(sys.argv[1]))
        graph.start()
        graph.wait_ready(120)
        print(graph.pids["recorder_node"], flush=True)
        time.sleep(600)
        """)
    )
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as starter:
        try:
            assert starter.stdout is not None
            pid = int(starter.stdout.readline())
            files = mapped_shared_memory(pid)
            assert files
        finally:
            starter.kill()
    assert eventually(lambda: gone(pid))
    # It ended by itself, so it tidied up; on a busy machine that may take a moment.
    assert eventually(lambda: not files & shared_memory())


def test_a_graph_that_never_gets_ready_says_which_node(tmp_path):
    with Graph([NodeSpec("command_node", CommandParameters())], tmp_path) as graph:
        os.kill(graph.pids["command_node"], signal.SIGSTOP)
        try:
            with pytest.raises(GraphError, match="not ready after 1 s: command_node"):
                graph.wait_ready(1.0)
        finally:
            os.kill(graph.pids["command_node"], signal.SIGCONT)


def test_a_realtime_process_keeps_its_pages() -> None:
    code = """
        import os
        from pathlib import Path
        from ros_nodes.process import use_realtime_priority
        granted = use_realtime_priority(10)
        status = dict(x.split(":", 1) for x in Path("/proc/self/status").read_text().splitlines())
        locked, resident = (int(status[name].split()[0]) for name in ("VmLck", "VmRSS"))
        assert not granted or os.geteuid() or resident / 2 < locked, status
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_memory_that_is_kept_for_reuse_is_given_back_every_now_and_then():
    code = """
        import gc, sys
        from rclpy.node import Node
        from ros_nodes import process

        process.COLLECT_EVERY_S = 0.3

        class Kept:
            def __del__(self):
                print("collected", flush=True)

        class Keeper(Node):
            def __init__(self):
                super().__init__("keeper")
                self.create_timer(0.3, self.keep)

            def keep(self):
                kept = Kept()
                kept.itself = kept

            def start(self):
                gc.disable()

            def stop(self):
                pass

        sys.exit(process.run_node("keeper", Keeper, []))
        """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **transport_environment(free_domain_id())},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert "collected\n" in process.stdout  # up to it: the middleware may speak too
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    finally:
        process.kill()
