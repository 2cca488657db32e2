"""Settings as frozen dataclasses, read from YAML; every mistake is told in one line."""

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

Settings = TypeVar("Settings")


class ConfigError(ValueError):
    """A setting that is not known, of the wrong type or out of its limits."""


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def from_mapping(kind: type[Settings], mapping: Mapping[str, Any], where: str = "") -> Settings:
    """Build a settings dataclass from what a YAML file holds.

    Args:
        kind: a frozen dataclass whose fields are numbers, strings, booleans, choices, further
            dataclasses, tuples of them, mappings from names to them, or None.
        mapping: setting name to value; nested dataclasses are nested mappings. What is not named
            keeps its default.
        where: name of the mapping in error messages, such as ``agent.yaml``.

    Returns:
        The checked settings.

    Raises:
        ConfigError: for an unknown or missing name, a wrong type or a value out of its limits.
    """
    prefix = f"{where}: " if where else ""
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{prefix}expected settings as 'name: value', got {mapping!r}")
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        if name not in hints:
            close = difflib.get_close_matches(str(name), hints, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(hints)}"
            raise ConfigError(f"{prefix}unknown setting {name!r}; {hint}")
        values[name] = _convert(hints[name], value, f"{where}: {name}" if where else name)
    for item in dataclasses.fields(typing.cast(Any, kind)):
        if item.default is item.default_factory is dataclasses.MISSING:
            require(item.name in values, f"{prefix}setting {item.name!r} is missing")
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from None


def _convert(hint: object, value: object, where: str) -> object:
    """Check one value against the type its field declares."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and type(None) in inner:
        if value is None:
            return None
        (hint,) = (kind for kind in inner if kind is not type(None))
        return _convert(hint, value, where)
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast(type, hint), typing.cast(Mapping, value), where)
    if origin is Literal:
        require(value in inner, f"{where} must be one of {', '.join(inner)}, not {value!r}")
        return value
    if origin is tuple:
        require(isinstance(value, list | tuple), f"{where} must be a list, not {value!r}")
        return tuple(
            _convert(inner[0], item, f"{where}[{number}]")
            for number, item in enumerate(typing.cast(list, value))
        )
    if origin is not None:  # a mapping from names
        require(isinstance(value, Mapping), f"{where} must be 'name: value', not {value!r}")
        named = typing.cast(Mapping[str, object], value)
        return {str(k): _convert(inner[1], v, f"{where}: {k}") for k, v in named.items()}
    if hint is bool or hint is str:
        kind = "true or false" if hint is bool else "a text"
        require(
            isinstance(value, typing.cast(type, hint)), f"{where} must be {kind}, not {value!r}"
        )
        return value
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):  # a bool is an int
        number = value
    if hint is int:
        require(isinstance(number, int), f"{where} must be an integer, not {value!r}")
        return number
    require(math.isfinite(number), f"{where} must be a finite number, not {value!r}")
    return float(number)


def load_settings(kind: type[Settings], path: Path | str, what: str) -> Settings:
    """Read settings from a YAML file.

    Args:
        kind: a dataclass, see `from_mapping`.
        path: the file; what it leaves out keeps its default.
        what: what the file is, for the error ("agent config").

    Returns:
        The checked settings.

    Raises:
        ConfigError: when the file is missing, is no YAML or holds a wrong setting; one line.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the {what} ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{path}: not a YAML file ({line})") from None
    return from_mapping(kind, {} if content is None else content, str(path))
