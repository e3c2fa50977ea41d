"""Bring your own model: a network becomes a pair of Triton models and a plugin without code."""

from node.models.add import add
from node.models.listing import listed
from node.models.made_in_sandbox import Made
from node.models.network_file import kinds

__all__ = ["Made", "add", "kinds", "listed"]
