"""Bring your own model: a network becomes a pair of Triton models and a plugin without code."""

from node.models.add import Added, add
from node.models.listing import listed
from node.models.network_file import kinds

__all__ = ["Added", "add", "kinds", "listed"]
