"""Which plugin gets which images, and why."""

from node.route.planning import Planned, plan, plan_due
from node.route.rules import Route, Routes, read_routes

__all__ = ["Planned", "Route", "Routes", "plan", "plan_due", "read_routes"]
