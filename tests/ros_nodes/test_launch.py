"""The launch files name nodes and parameters that exist.

`launch` cannot be installed by pip, so the few classes the files use are stood in for by recorders.
"""

import runpy
import sys
import types
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from ros_nodes import params

ROOT = Path(__file__).parents[2]
PARAMETERS = {
    "sim_node": params.SimParameters,
    "agent_node": params.AgentParameters,
    "command_node": params.CommandParameters,
    "recorder_node": params.RecorderParameters,
    "supervisor_node": params.SupervisorParameters,
    "fake_robot_node": params.FakeRobotParameters,
    "fake_base_node": params.FakeBaseParameters,
}
FILES = sorted((ROOT / "launch").glob("*.launch.py"))


class Recorder:
    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs


def names(node: str) -> set[str]:
    return {field.name for field in fields(PARAMETERS[node])}


def configurations(value) -> set[str]:
    """Names of the launch arguments that a value is made of."""
    if isinstance(value, list | tuple):
        return set().union(*(configurations(item) for item in value))
    if type(value).__name__ == "LaunchConfiguration":
        return {value.args[0]}
    return configurations(value.args) if isinstance(value, Recorder) else set()


@pytest.fixture
def launch_modules(monkeypatch):
    contents = {
        "launch": ["LaunchDescription"],
        "launch.actions": ["DeclareLaunchArgument"],
        "launch.substitutions": ["LaunchConfiguration", "PathJoinSubstitution"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
        "launch_ros.parameter_descriptions": ["ParameterValue"],
        "launch_ros.substitutions": ["FindPackageShare"],
    }
    for name, classes in contents.items():
        module = types.ModuleType(name)
        for kind in classes:
            setattr(module, kind, type(kind, (Recorder,), {}))
        monkeypatch.setitem(sys.modules, name, module)


def test_there_are_launch_files():
    expected = ["record.launch.py", "robot.launch.py", "sim.launch.py"]
    assert [path.name for path in FILES] == expected


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
@pytest.mark.usefixtures("launch_modules")
def test_launch_file_fits_the_nodes(path):
    (entities,) = runpy.run_path(str(path))["generate_launch_description"]().args
    arguments = [e for e in entities if type(e).__name__ == "DeclareLaunchArgument"]
    nodes = [e for e in entities if type(e).__name__ == "Node"]
    assert nodes
    declared = {argument.args[0] for argument in arguments}
    assert declared >= {"namespace"}
    for argument in arguments:
        assert argument.kwargs["description"]
    setup = (ROOT / "setup.py").read_text()
    used = set()
    for node in nodes:
        executable = node.kwargs["executable"]
        assert node.kwargs["package"] == "foresee"
        assert f'"{executable} = ros_nodes.{executable}:main"' in setup
        assert configurations(node.kwargs["namespace"]) == {"namespace"}
        used |= configurations(node.kwargs["namespace"])
        for entry in node.kwargs.get("parameters", []):
            assert set(entry) <= names(executable) | {"use_sim_time"}
            assert executable != "supervisor_node"  # its nodes would be given that file too
            used |= configurations(list(entry.values()))
        given = node.kwargs.get("ros_arguments", [])
        used |= configurations(given)
        # Of two values for a parameter the later one counts: a file goes before what overrides it.
        assert given[::2] == sorted(given[::2], reverse=True, key="--params-file".__eq__)
        assert set(given[::2]) <= {"-p", "--params-file"}
        for flag, words in zip(given[::2], given[1::2], strict=True):
            if flag == "--params-file":
                continue
            text = "".join(word if isinstance(word, str) else "x" for word in words)
            name, _, value = text.partition(":=")
            assert name in names(executable) | {"use_sim_time"}
            if name == "nodes":
                assert set(yaml.safe_load(value)) <= PARAMETERS.keys()
            for setting in yaml.safe_load(value) if name == "settings" else []:
                child, _, parameter = setting.partition(":=")[0].partition(".")
                assert parameter in names(child)
    assert used == declared


@pytest.mark.parametrize("kind", PARAMETERS.values())
def test_every_default_is_within_its_own_limits(kind):
    params.check(kind())
    assert all(field.metadata["description"] for field in fields(kind))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (params.SimParameters(image_size=8), "image_size: 8"),
        (params.SimParameters(image_rate_hz=float("nan")), "not finite"),
        (params.SimParameters(seed=1.0), "expected int"),
        (params.AgentParameters(provider="gpu"), "auto, tensorrt, cuda, cpu"),
        (params.CommandParameters(speed_m_s=(0.1, 0.1)), "3 numbers"),
        (params.CommandParameters(speed_m_s=(0.1, 0.1, -1.0)), "-1.0 is not in"),
    ],
)
def test_wrong_parameters_are_refused(values, reason):
    with pytest.raises(params.ParameterError, match=reason):
        params.check(values)
