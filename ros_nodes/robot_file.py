"""What a robot's parameter file says of other nodes than the one that reads it.

All nodes of a robot get the same file. The supervisor needs what is in it for `command_node`, to
brake in its place; the recorder too, to know what the robot's commands are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from rclpy.node import Node

from ros_nodes.params import ParameterError, Parameters, declare_parameters

_IMAGES = "/image_raw"
_JPEG = "/compressed"


def ros_arguments(argv: Sequence[str]) -> list[str]:
    """What of a process's ROS arguments is for others too: not its name and parameters."""
    kept: list[str] = []
    inside = False
    for word in argv:
        if word in ("--ros-args", "--"):
            inside = word == "--ros-args"
        elif inside and kept and kept[-1] in ("-p", "--param"):
            kept.pop()
        elif inside and word.startswith(("__node:=", "__name:=")):
            kept.pop()  # the -r before it
        elif inside:
            kept.append(word)
    return kept


def remapping_arguments(remappings: Iterable[str]) -> list[str]:
    """The parameter ``remappings`` as ROS arguments; the JPEGs of a camera go with its images.

    Raises:
        ParameterError: one that is not ``ours:=theirs``.
    """
    arguments: list[str] = []
    for remapping in filter(None, remappings):
        ours, _, theirs = remapping.partition(":=")
        if not (ours and theirs):
            raise ParameterError(f"parameter remappings: {remapping!r} is not ours:=theirs")
        arguments += ["-r", remapping]
        if ours.endswith(_IMAGES):
            arguments += ["-r", f"{ours}{_JPEG}:={theirs}{_JPEG}"]
    return arguments


def remapped_names(arguments: Sequence[str]) -> set[str]:
    """Our names of the topics that ROS arguments remap."""
    rules = (rule for flag, rule in pairwise(arguments) if flag in ("-r", "--remap"))
    names = {rule.partition(":=")[0] for rule in rules}
    # Without those of a single node, and without node name and namespace.
    return {name for name in names if ":" not in name and not name.startswith("__")}


def node_like(name: str, namespace: str, arguments: Sequence[str]) -> Node:
    """A node in this process with the parameters and remappings of one that is started.

    Raises:
        ParameterError: ROS cannot read the arguments.
    """
    try:
        return Node(
            name,
            namespace=namespace,
            cli_args=["--ros-args", *arguments],
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
            automatically_declare_parameters_from_overrides=True,
        )
    except RuntimeError as error:  # rclpy's own
        raise ParameterError(" ".join(str(error).split())) from error


def parameters_of(
    name: str, kind: type[Parameters], namespace: str, arguments: Sequence[str]
) -> Parameters:
    """The parameters that a node will find, read the way it will read them.

    Args:
        name: of the node.
        kind: dataclass of its parameters.
        namespace: that it is in.
        arguments: that it is started with; see `ros_arguments`.

    Raises:
        ParameterError: it would refuse them; one line that names the node.
    """
    reader = node_like(name, namespace, arguments)
    try:
        return declare_parameters(reader, kind)
    except ValueError as error:
        raise ParameterError(f"{name}: {error}") from error
    finally:
        reader.destroy_node()
