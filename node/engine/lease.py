"""A claim on rows of the ledger: held for a limited time, and renewed while its holder works."""

import threading
import time
from collections.abc import Callable
from typing import Self

from node.errors import LedgerUnavailable
from node.records import LEASE_SECONDS

RENEWALS = 6
"""How often a lease is renewed in the time that it lasts: one renewal may come late."""


class Lease:
    """A claim that is renewed by `keep`, when it is due; in a `with` block, by a thread for as long as the block lasts.

    A holder that gives up a part of the claim does so holding `lock`: the lease is not renewed meanwhile.

    Parameters
    ----------
    renew
        Renews the claim in the ledger, and returns whether it is still this holder's.
    seconds
        How long the claim lasts after each renewal, by `clock`.
    every
        Seconds between renewals; without it, a sixth of `seconds`.
    """

    def __init__(
        self,
        renew: Callable[[], bool],
        *,
        seconds: float = LEASE_SECONDS,
        every: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lock = threading.Lock()
        self._renew = renew
        self._seconds = seconds
        self._every = seconds / RENEWALS if every is None else every
        self._clock = clock
        self._renewed_at = clock()
        self._lost = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_on, name="lease", daemon=True)

    @property
    def held(self) -> bool:
        """Whether no other process can have the claim; a process that was suspended finds that its time is over."""
        return not self._lost and self._clock() < self._renewed_at + self._seconds

    def keep(self) -> bool:
        """Renew the lease if that is due, and return whether it is held.

        Raises
        ------
        LedgerUnavailable
            As of `renew`.
        """
        if not self._lost and self._clock() - self._renewed_at >= self._every:
            self._renew_now()
        return self.held

    def _renew_now(self) -> None:
        asked_at = self._clock()
        with self.lock:
            self._lost = not self._renew()
        if not self._lost:
            self._renewed_at = asked_at

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _keep_on(self) -> None:
        while self.held and not self._over.wait(self._every):
            try:
                self._renew_now()
            except LedgerUnavailable:
                continue
