"""The Panda description with light meshes, with a stick or plain fingers, from `pybullet_data`.

The visual meshes shipped with PyBullet have 100 000 triangles, and the software renderer spends
20 ms a frame on them whatever the image size. A few hundred a link look the same at the sizes a
world model sees. Collision shapes are left as they are.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import fast_simplification
import numpy as np
import pybullet_data

TRIANGLES_PER_LINK = 250
ARM_LINKS = tuple(f"panda_link{index}" for index in range(8))
TOOL_LINK = "tool"  # its origin is the centre of the ball at the end of the stick
TOOL_LENGTH_M = 0.15  # from the hand's frame to the centre of the ball
TOOL_RADIUS_M = 0.022
FINGER_LINKS = ("panda_leftfinger", "panda_rightfinger")
FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
GRASP_LENGTH_M = 0.100  # from the hand's frame to where the fingers grasp
_FINGER_M = (0.022, 0.014, 0.055)  # its inner face is where the joint is
_HAND_DEPTH_M = 0.06  # where the stick leaves the hand
_RECIPE = "2"  # counts up when what is written below changes: older caches are then not found


def panda_urdf(gripper: bool = False) -> Path:
    """Path of the prepared URDF, with a stick or with fingers; made on first use (about 0.3 s).

    It lies in `$XDG_CACHE_HOME/foresee` (default `~/.cache/foresee`) under a hash of its sources.
    Several processes may call this at once: the folder appears whole or not at all.
    """
    source = Path(pybullet_data.getDataPath()) / "franka_panda"
    folder = _cache_root() / f"panda-{_fingerprint(source)}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".panda-", dir=folder.parent))
        try:
            _write_description(source, draft)
            draft.rename(folder)
        except OSError:
            # Another process was first, which is fine; anything else is not.
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder / ("gripper.urdf" if gripper else "panda.urdf")


def _cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "foresee"


def _fingerprint(source: Path) -> str:
    settings = (
        *(_RECIPE, TRIANGLES_PER_LINK, TOOL_LENGTH_M, TOOL_RADIUS_M),
        *(GRASP_LENGTH_M, _FINGER_M, str(source)),
    )
    digest = hashlib.sha256(repr(settings).encode())
    for path in [source / "panda.urdf", *sorted(source.glob("meshes/*/*.obj"))]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _write_description(source: Path, target: Path) -> None:
    meshes: set[Path] = set()
    for name, add_tool in (("panda.urdf", _add_stick), ("gripper.urdf", _add_fingers)):
        tree = ET.parse(source / "panda.urdf")
        robot = tree.getroot()
        add_tool(robot)
        for mesh in robot.iterfind("link/visual/geometry/mesh"):
            original = source / mesh.attrib["filename"].removeprefix("package://")
            mesh.set("filename", _light_name(original))
            meshes.add(original)
        for mesh in robot.iterfind("link/collision/geometry/mesh"):
            mesh.set("filename", str(source / mesh.attrib["filename"].removeprefix("package://")))
        tree.write(target / name)
    for original in sorted(meshes):
        vertices, triangles = _load_obj(original)
        if len(triangles) > TRIANGLES_PER_LINK:
            vertices, triangles = fast_simplification.simplify(
                vertices, triangles, target_count=TRIANGLES_PER_LINK
            )
        _save_obj(target / _light_name(original), vertices, triangles)


def _light_name(mesh: Path) -> str:
    return f"{mesh.parent.name}_{mesh.name}"


def _add_stick(robot: ET.Element) -> None:
    """One rigid tool instead of two fingers: what touches and what is seen is one bright thing."""
    for element in list(robot):
        child = element.find("child")
        name = element.get("name") if element.tag == "link" else None
        removed = (*FINGER_LINKS, "panda_grasptarget")
        if name in removed or (child is not None and child.get("link") in removed):
            robot.remove(element)
    stick_m = TOOL_LENGTH_M - _HAND_DEPTH_M
    shapes = (
        (f'<sphere radius="{TOOL_RADIUS_M}"/>', (0.0, 0.0, 0.0)),
        (
            f'<cylinder radius="{0.7 * TOOL_RADIUS_M}" length="{stick_m}"/>',
            (0.0, 0.0, -stick_m / 2),
        ),
    )
    _add_tool_link(robot, TOOL_LENGTH_M, "".join(map(_both, *zip(*shapes, strict=True))))


def _add_fingers(robot: ET.Element) -> None:
    """Boxes for fingers: two flat faces hold a thing by friction, and can be seen at 64 px."""
    for name, side in zip(FINGER_LINKS, (1.0, -1.0), strict=True):
        link = robot.find(f"link[@name='{name}']")
        assert link is not None
        for element in [*link.findall("visual"), *link.findall("collision")]:
            link.remove(element)
        centre = (0.0, side * _FINGER_M[1] / 2, _FINGER_M[2] / 2)
        box = '<box size="{} {} {}"/>'.format(*_FINGER_M)
        link.extend(ET.fromstring(f"<link>{_both(box, centre)}</link>"))
    _add_tool_link(robot, GRASP_LENGTH_M, "")


def _both(shape: str, xyz: tuple[float, float, float]) -> str:
    """The same shape to be seen and to be touched."""
    origin = " ".join(map(str, xyz))
    return "".join(
        f'<{kind}><origin xyz="{origin}"/><geometry>{shape}</geometry></{kind}>'
        for kind in ("visual", "collision")
    )


def _add_tool_link(robot: ET.Element, length_m: float, parts: str) -> None:
    robot.append(
        ET.fromstring(
            f'<link name="{TOOL_LINK}"><inertial><mass value="0.05"/>'
            '<inertia ixx="1e-4" iyy="1e-4" izz="1e-4" ixy="0" ixz="0" iyz="0"/></inertial>'
            f"{parts}</link>"
        )
    )
    robot.append(
        ET.fromstring(
            f'<joint name="tool_joint" type="fixed"><parent link="panda_hand"/>'
            f'<child link="{TOOL_LINK}"/><origin xyz="0 0 {length_m}"/></joint>'
        )
    )


def _load_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices ``(V, 3)`` float32 and triangles ``(F, 3)`` int32 of a Wavefront file."""
    vertices: list[list[float]] = []
    triangles: list[list[int]] = []
    for line in path.read_text().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append([float(word) for word in words[1:4]])
        elif words[0] == "f":
            corner = [int(word.split("/")[0]) - 1 for word in words[1:]]
            triangles += [[corner[0], *corner[k : k + 2]] for k in range(1, len(corner) - 1)]
    return np.array(vertices, np.float32), np.array(triangles, np.int32)


def _save_obj(path: Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in triangles + 1]
    path.write_text("\n".join(lines) + "\n")
