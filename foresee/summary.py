"""Summaries as strict JSON, for whoever reads them next."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np


def write_json(path: Path, summary: dict[str, Any] | list[Any]) -> None:
    """Write a summary as strict JSON; what is not finite becomes null.

    Folders are made, and whoever reads meanwhile sees the file before or after, never half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(_finite(summary), indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, np.generic):
        return _finite(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
