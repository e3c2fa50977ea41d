"""From instances to studies that are stable, and series that a plugin can read."""

from node.assemble.decode import decode, decode_due
from node.assemble.settle import settle

__all__ = ["decode", "decode_due", "settle"]
