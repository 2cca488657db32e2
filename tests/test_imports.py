"""Who may import whom: the table of docs/architecture.md, read off the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"world_model", "controller", "sim", "ros_nodes", "foresee", "benchmarks", "tests"}
ALLOWED = {
    "world_model": {"world_model"},
    "controller": {"controller"},
    "sim": {"sim"},
    "ros_nodes": {"ros_nodes", "world_model", "controller"},
    "foresee": {"foresee", "world_model", "controller", "sim", "ros_nodes"},
}
# What runs on a robot must run without these.
WITHOUT = {
    "controller": {"torch", "onnx", "onnxruntime", "rclpy", "pybullet", "gymnasium"},
    "ros_nodes": {"torch", "onnx"},
    "sim": {"torch", "onnx", "onnxruntime", "rclpy"},
    "world_model/data": {"torch", "onnx", "rclpy"},
    "world_model/bundle.py": {"torch", "onnx", "rclpy"},
    "world_model/runtime.py": {"torch", "onnx", "rclpy"},
    "world_model/energy.py": {"torch", "onnx", "onnxruntime", "rclpy"},
    "world_model/held_out.py": {"torch", "onnx", "rclpy"},
    "world_model/config.py": {"torch", "onnx", "rclpy"},
    "world_model/pretrain_config.py": {"torch", "onnx", "rclpy"},
}
# The one module of controller/ that may use them, and only inside its functions.
KINEMATICS = ROOT / "controller" / "kinematics.py"
OF_KINEMATICS = {"pinocchio", "pink", "coal", "qpsolvers", "daqp", "scipy", "ruckig"}


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def _files(name: str) -> list[Path]:
    path = ROOT / name
    return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_the_table_allows(package: str) -> None:
    files = _files(package)
    assert files
    for path in files:
        allowed = set(ALLOWED[package])
        if path.name in ("sim_node.py", "fake_robot_node.py", "fake_base_node.py"):
            allowed.add("sim")
        foreign = (_imports(path) & OURS) - allowed
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


@pytest.mark.parametrize("name", WITHOUT)
def test_what_runs_on_a_robot_needs_no_training_packages(name: str) -> None:
    for path in _files(name):
        heavy = _imports(path) & WITHOUT[name]
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy}"


def test_one_module_of_the_controller_uses_pinocchio_and_only_when_a_robot_is_loaded() -> None:
    for path in _files("controller"):
        used = _imports(path) & OF_KINEMATICS
        assert not used or path == KINEMATICS, f"{path.relative_to(ROOT)} imports {used}"
    at_once = {
        name
        for node in ast.parse(KINEMATICS.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        )
    }
    assert not {name.split(".")[0] for name in at_once if name} & OF_KINEMATICS
