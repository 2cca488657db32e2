"""Costs: one subject per file, each a callable over imagined futures."""

from controller.costs.base import Cost, CostContext, Judgement
from controller.costs.total import TotalCost, build_cost

__all__ = ["Cost", "CostContext", "Judgement", "TotalCost", "build_cost"]
