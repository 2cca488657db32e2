"""Take numbers out of messages by a path, such as ``pose.position.x`` or ``position[joint_1]``.

``.name`` is a field, ``[3]`` an element (``[-1]`` the last), and ``[text]`` an element by its name:
of a JointState or JointTrajectory by the joint's name, of a Float64MultiArray by the
comma-separated names in the label of its dimension.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from world_model.data.spec import DatasetError

_PART = re.compile(r"\.?(\w+)|\[([^\]]+)\]")


class FieldReader:
    """Reads the numbers of one signal out of messages of one topic.

    Args:
        topic: for errors.
        paths: name in the data set to path in the message.

    Attributes:
        lacks: which name the last message without one of the names lacks; empty until there is one.

    Raises:
        DatasetError: a path that cannot be read.
    """

    def __init__(self, topic: str, paths: Mapping[str, str]) -> None:
        """Take the paths apart."""
        self._topic = topic
        self.lacks = ""
        self._paths = {path: _parse(path, topic) for path in paths.values()}

    def __call__(self, message: Any) -> NDArray[np.float64] | None:  # noqa: ANN401
        """The numbers ``(F,)``; None for a message that says nothing.

        Its lists are empty, or lack a name (``lacks`` says which): others may use the topic too.

        Raises:
            DatasetError: the message has no such field or element, or it is no number.
        """
        values = []
        for path, parts in self._paths.items():
            value: Any = message
            for part in parts:
                value = self._step(value, part, path, message)
                if value is None:
                    return None
            try:
                values.append(float(value))
            except (TypeError, ValueError):
                raise DatasetError(
                    f"{self._topic}: {path} is no number but {type(value).__name__}"
                ) from None
        return np.array(values)

    def _step(self, value: Any, part: str | int, path: str, message: Any) -> Any:  # noqa: ANN401
        if isinstance(part, str) and not part.startswith("["):
            if not hasattr(value, part):
                known = [name for name in vars(value) if not name.startswith("_")]
                raise DatasetError(f"{self._topic}: {path}: no field {part!r}, there are {known}")
            return getattr(value, part)
        if len(value) == 0:
            return None
        index = part
        if isinstance(part, str):
            names = _names(message)
            name = part[1:]
            if name not in names:
                self.lacks = f"{self._topic}: {path}: no {name!r}, there are {list(names)}"
                return None
            index = names.index(name)
        try:
            return value[index]
        except IndexError:
            raise DatasetError(
                f"{self._topic}: {path}: no element {index}, there are {len(value)}"
            ) from None


def _parse(path: str, topic: str) -> tuple[str | int, ...]:
    """``a.b[2][name]`` to ``("a", "b", 2, "[name")``."""
    parts: list[str | int] = []
    position = 0
    while position < len(path):
        found = _PART.match(path, position)
        if found is None:
            raise DatasetError(f"{topic}: path {path!r} is not understood; see config/import.yaml")
        field, index = found.groups()
        if field is not None:
            parts.append(field)
        else:
            parts.append(int(index) if re.fullmatch(r"-?\d+", index) else f"[{index}")
        position = found.end()
    return tuple(parts)


def _names(message: Any) -> Sequence[str]:  # noqa: ANN401
    """What the elements of a message's lists are called."""
    if hasattr(message, "name"):
        return list(message.name)
    if hasattr(message, "joint_names"):
        return list(message.joint_names)
    dimensions = message.layout.dim if hasattr(message, "layout") else []
    return [] if not dimensions else [part.strip() for part in dimensions[0].label.split(",")]
