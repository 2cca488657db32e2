"""Costs: one subject per file, each a callable over imagined futures."""

from controller.costs.base import Cost, CostContext
from controller.costs.total import TotalCost, build_cost

__all__ = ["Cost", "CostContext", "TotalCost", "build_cost"]
