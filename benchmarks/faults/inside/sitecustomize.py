"""Makes the world model of a process fail on request; all else of the process is the real one.

Python imports a module of this name by itself when its folder is on ``PYTHONPATH``. The file that
``FORESEE_MODEL_FAULT`` names holds one JSON object, read before every rollout: ``{"fault": "nan"}``
or ``inf`` (with ``share`` of the candidates), ``slow`` (with ``factor``), ``hung`` (until the file
changes); nothing for nothing.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_MODULE = "world_model.runtime"
_LOOK_S = 0.01


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the runtime as usual and spoils it when it has been loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_spoil(module: ModuleType) -> None:
                load(module)
                model = module.OnnxWorldModel
                model.rollout = _spoilt(model.rollout)

            spec.loader.exec_module = load_and_spoil  # type: ignore[method-assign]
        return spec


def _fault() -> dict[str, Any]:
    try:
        fault: dict[str, Any] = json.loads(Path(os.environ["FORESEE_MODEL_FAULT"]).read_text())
    except (OSError, ValueError):  # none, or just being written
        return {}
    return fault


def _spoilt(rollout: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(rollout)
    def spoilt(*arguments: object) -> object:
        import numpy as np

        began_s = time.perf_counter()
        rollouts = rollout(*arguments)
        fault = _fault()
        kind = fault.get("fault")
        if kind in ("nan", "inf"):
            latents = np.array(rollouts.latents)
            bad = np.random.default_rng(0).random(len(latents)) < fault["share"]
            latents[bad] = float(kind)
            return rollouts._replace(latents=latents)
        if kind == "slow":
            time.sleep((fault["factor"] - 1) * (time.perf_counter() - began_s))
        while kind == "hung" and _fault() == fault:
            time.sleep(_LOOK_S)
        return rollouts

    return spoilt


if "FORESEE_MODEL_FAULT" in os.environ:
    sys.meta_path.insert(0, _Finder())
