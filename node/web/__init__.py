"""The page: what `isocenter status`, `queue`, `studies` and `explain` tell, for a browser, and for programs as JSON.

It reads the ledger by the functions of those commands, and changes nothing. It has no login yet, so it listens on
loopback only.
"""

from node.web.web_application import create, listen

__all__ = ["create", "listen"]
