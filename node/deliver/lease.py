"""Held while it is sent: a lease that is renewed beside the sending, however long one object takes."""

import threading
import time
from collections.abc import Callable
from typing import Self

from node.errors import LedgerUnavailable

LEASE_SECONDS = 60.0
"""How long what was claimed is left to a process that says no more."""
RENEW_SECONDS = 20.0


class Lease:
    """A claim on some deliveries, for as long as the block lasts and `renew` says that it is still ours.

    Who takes a delivery out of the claim does so holding `lock`: it is not renewed meanwhile.
    """

    def __init__(self, renew: Callable[[], bool], *, every: float = RENEW_SECONDS) -> None:
        self.lock = threading.Lock()
        self._renew = renew
        self._every = every
        self._until = time.monotonic() + LEASE_SECONDS
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    @property
    def held(self) -> bool:
        """Whether no other process can have it: a process that was suspended finds that its time has run out."""
        return time.monotonic() < self._until

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while self.held and not self._over.wait(self._every):
            asked = time.monotonic()
            try:
                with self.lock:
                    ours = self._renew()
            except LedgerUnavailable:
                continue
            self._until = asked + LEASE_SECONDS if ours else 0.0
