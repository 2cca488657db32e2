"""From what the costs say to an order of candidates: who is out, who is first.

Three things stand above the costs. What is not finite is out. What is absurd is out, see
`quarantine`. And a candidate that violates no guardrail comes before every one that does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.costs import Judgement

Array = NDArray[np.float32]

# How many times the middle half of all costs a cost must be away from it to be absurd.
_ABSURD = 1000.0


class Ranking(NamedTuple):
    """An order of B candidates.

    Attributes:
        costs: ``(B,)`` what an optimiser may learn from; not finite for whoever is out.
        first: index of the best; ``None`` when all are out.
        admissible: True when the best violates no guardrail. Otherwise none does better, and
            ``costs`` are the sizes of the violations.
        quarantined: how many are out because they are not finite or absurd.
    """

    costs: Array
    first: int | None
    admissible: bool
    quarantined: int


def rank(judgement: Judgement) -> Ranking:
    """Order the candidates.

    Args:
        judgement: of B candidates.
    """
    costs, quarantined = quarantine(judgement.costs)
    admissible = True
    if judgement.violation is not None and judgement.violation.any():
        violation = np.where(np.isfinite(costs), judgement.violation, np.nan)
        passed = violation <= 0.0
        admissible = bool(passed.any())
        costs = np.where(passed, costs, np.float32(np.nan)) if admissible else violation
    first = int(costs.argmin())  # NumPy gives a NaN where there is one
    if not math.isfinite(costs[first]):
        finite = np.isfinite(costs)
        if not finite.any():
            return Ranking(costs, None, False, quarantined)
        first = int(np.where(finite, costs, np.inf).argmin())
    return Ranking(costs, first, admissible, quarantined)


def quarantine(costs: Array) -> tuple[Array, int]:
    """Put candidates out whose cost is not finite or absurd.

    A cost is absurd when it is further from the median of the finite ones than a thousand times the
    distance between their quartiles and than the median itself, unless both are 0. So a cost above
    0 is never absurdly good among others above 0: a lucky find is not an outlier.

    Args:
        costs: ``(B,)``.

    Returns:
        ``(B,)`` with NaN for whoever is out (the argument itself when nobody is), and how many.
    """
    if len(costs) == 1:
        return costs, int(not math.isfinite(costs[0]))
    ordered = np.sort(costs)  # -inf first, +inf and then NaN last
    first, last = float(ordered[0]), float(ordered[-1])
    finite = ordered
    if not (math.isfinite(first) and math.isfinite(last)):
        finite = ordered[np.isfinite(ordered)]
        if len(finite) == 0:
            return costs, len(costs)
        first, last = float(finite[0]), float(finite[-1])
    count = len(finite)
    middle = float(finite[count // 2])
    spread = float(finite[(3 * count) // 4]) - float(finite[count // 4])
    far = max(_ABSURD * spread, abs(middle))
    absurd = far > 0.0 and (last - middle > far or middle - first > far)
    if not absurd and count == len(costs):
        return costs, 0
    kept = np.isfinite(costs)
    if absurd:
        kept &= np.abs(costs - np.float32(middle)) <= far
    return np.where(kept, costs, np.float32(np.nan)), len(costs) - int(np.count_nonzero(kept))
