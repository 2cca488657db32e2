"""Dataclasses from YAML: every name known, every value of its type, errors with their place."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from world_model.data.spec import DatasetError

Settings = TypeVar("Settings")


def load_settings(kind: type[Settings], path: Path | str) -> Settings:
    """Read a settings dataclass from a YAML file.

    Raises:
        DatasetError: the file is missing, is no YAML or holds a wrong setting; one line that says
            where in the file.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    return from_mapping(kind, {} if content is None else content, str(path))


def from_mapping(kind: type[Settings], mapping: object, where: str) -> Settings:
    """Build a settings dataclass from what YAML gives.

    Args:
        kind: the dataclass.
        mapping: setting name to value; nested dataclasses are nested mappings.
        where: file and place in it, for errors.

    Raises:
        DatasetError: unknown or missing name, wrong type, or a value out of its limits.
    """
    if not isinstance(mapping, Mapping):
        raise DatasetError(f"{where}: expected settings as 'name: value', got {mapping!r}")
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in mapping.items():
        if name not in hints:
            close = difflib.get_close_matches(str(name), hints, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(hints)}"
            raise DatasetError(f"{where}: unknown setting {name!r}; {hint}")
        values[name] = _convert(hints[name], value, f"{where}: {name}")
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if field.name not in values and not optional:
            raise DatasetError(f"{where}: setting {field.name!r} is missing")
    try:
        return kind(**values)
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from None


def _convert(hint: Any, value: object, where: str) -> object:  # noqa: ANN401 - any type hint
    """Check one value against a type hint."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(inner, value, where)
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast(type, hint), value, where)
    if origin is Literal:
        if value not in inner:
            raise DatasetError(f"{where} must be one of {', '.join(inner)}, not {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise DatasetError(f"{where} must be a list, not {value!r}")
        if inner[-1] is ...:
            return tuple(_convert(inner[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) != len(inner):
            raise DatasetError(f"{where} must hold {len(inner)} values, not {value!r}")
        pairs = enumerate(zip(inner, value, strict=True))
        return tuple(_convert(h, v, f"{where}[{i}]") for i, (h, v) in pairs)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise DatasetError(f"{where} must be 'name: value', not {value!r}")
        return {str(k): _convert(inner[1], v, f"{where}.{k}") for k, v in value.items()}
    return _convert_plain(hint, value, where)


def _convert_union(kinds: tuple[Any, ...], value: object, where: str) -> object:
    """The first kind that fits; what the last one says is wrong otherwise."""
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    for kind in kinds[:-1]:
        try:
            return _convert(kind, value, where)
        except DatasetError:
            continue
    return _convert(kinds[-1], value, where)


def _convert_plain(kind: type, value: object, where: str) -> object:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
        raise DatasetError(f"{where} must be a finite number, not {value!r}")
    if type(value) is not kind:
        article = {str: "text", int: "a whole number", bool: "true or false", float: "a number"}
        raise DatasetError(f"{where} must be {article.get(kind, kind.__name__)}, not {value!r}")
    return value
