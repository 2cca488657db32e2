"""Units of recorded numbers: brought to SI, and doubted where the values do not look like them."""

from __future__ import annotations

import math

# Unit to its factor to SI.
FACTORS: dict[str, float] = {
    "1": 1.0,
    "m": 1.0,
    "cm": 0.01,
    "mm": 0.001,
    "rad": 1.0,
    "deg": math.pi / 180,
    "m/s": 1.0,
    "cm/s": 0.01,
    "mm/s": 0.001,
    "rad/s": 1.0,
    "deg/s": math.pi / 180,
    "rpm": math.pi / 30,
    "m/s2": 1.0,
    "rad/s2": 1.0,
    "N": 1.0,
    "Nm": 1.0,
    "s": 1.0,
    "kg": 1.0,
}
# Unit to the largest size that is believed without a word, and the unit that is likelier beyond.
_LARGEST: dict[str, tuple[float, str]] = {
    "rad": (2 * math.pi, "deg"),
    "rad/s": (30.0, "deg/s"),
    "m": (20.0, "mm"),
    "m/s": (20.0, "mm/s"),
}
# Unit to the size below which a number that does change is likelier of another.
_SMALLEST: dict[str, tuple[float, str]] = {
    "deg": (math.pi, "rad"),
    "deg/s": (0.5, "rad/s"),
    "mm": (2.0, "m"),
    "mm/s": (1.0, "m/s"),
}


def doubt(name: str, unit: str, low: float, high: float) -> str | None:
    """Say why the declared unit is likely wrong; None when the values look like it.

    Args:
        name: what the numbers are, for the sentence.
        unit: declared unit, one of `FACTORS`.
        low: smallest value, in SI.
        high: largest value, in SI.
    """
    factor = FACTORS[unit]
    low, high = low / factor, high / factor
    largest = max(abs(low), abs(high))
    if unit in _LARGEST and largest > _LARGEST[unit][0]:
        likelier = _LARGEST[unit][1]
    elif unit in _SMALLEST and 1e-6 < largest < _SMALLEST[unit][0] and high - low > 1e-6:
        likelier = _SMALLEST[unit][1]
    else:
        return None
    return (
        f"{name} runs from {low:.4g} to {high:.4g}: that looks like {likelier}, not {unit}; "
        f"if so, declare unit: {likelier}"
    )
