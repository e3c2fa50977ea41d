"""The rows that remember: schema, and every SQL statement."""

from node.ledger.ledger import Ledger

__all__ = ["Ledger"]
