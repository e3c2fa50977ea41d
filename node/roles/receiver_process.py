"""One receiver process, built from the settings: it accepts associations and writes rows, and computes nothing.

    python -m node.roles.receiver_process DESCRIPTOR [DESCRIPTOR]

DESCRIPTOR is that of a listening socket; the second one is for TLS beside the plain port. The settings come as JSON in
the first line of stdin. Stdin ends when the node stops or dies: then no more associations are accepted, and open ones
have `engine.stop_seconds` to end. On stdout the process prints names of the node's steps that may have something to do.
It imports neither torch nor highdicom: a node has several such processes.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from node.deliver import commitment_step
from node.engine import Engine, Step
from node.errors import NodeError
from node.log import log_event, log_to_stderr
from node.receive import Arrivals, CommitmentScp, KnownPeers, Receiver, RefusalLog, StoreScp
from node.settings import Settings
from node.storage import open_ledger, open_spool

log = structlog.get_logger()

RECEIVE, REPORT, ASSOCIATIONS = "receive", "report commitment", "failed associations"

RESOLVE_SECONDS = 30.0
"""How often the hosts of `receive.accept_from` are looked up again."""


class ReceiverProcess:
    """Accepts associations from its listening sockets, and records what they bring."""

    def __init__(
        self, settings: Settings, listening: Sequence[socket.socket], wake_node: Callable[[str], object]
    ) -> None:
        address = settings.receive.address
        commitment_steps = [
            commitment_step(name) for name, destination in settings.destinations.items() if destination.commitment
        ]
        ledger, spool = open_ledger(settings), open_spool(settings, made=True)
        ledger.db.listener = log_event
        self._settings, self._ledger = settings, ledger
        self._arrivals = Arrivals(ledger.studies, ledger.instances, spool, wake=lambda: self._engine.wake(RECEIVE))
        commitment = CommitmentScp(
            commitments=ledger.commitments,
            requests=ledger.requests,
            instances=ledger.instances,
            spool=spool,
            arrivals=self._arrivals,
            ae_title=address.ae_title,
            addresses={sender.ae_title: sender for sender in settings.receive.commitment_to},
            wake=lambda: self._engine.wake(REPORT, *commitment_steps),
        )
        self._refusals = RefusalLog(
            wake=lambda: self._engine.wake(ASSOCIATIONS), write=ledger.failed_associations.record
        )
        peers = self._peers = KnownPeers.parse(address.ae_title, settings.receive.accept_from)
        for host in peers.unresolved:
            log.warning("caller.unknown", host=host, reason="it has no address; it is looked up again every 30 s")
        steps = [
            Step(name=RECEIVE, work=self._arrivals.record, then=("assemble", "decode")),
            Step(name=REPORT, work=commitment.report),
            Step(name=ASSOCIATIONS, work=self._refusals.record),
            Step(name="resolve callers", work=self._resolve),
        ]
        self._engine = Engine(steps, elsewhere=wake_node)
        store = StoreScp(spool, self._arrivals, closed=self._arrivals.record_soon)
        tls = settings.receive.tls.credentials if settings.receive.tls else None
        self._receivers = [
            Receiver(
                address=address,
                peers=peers,
                store=store,
                associations=settings.receive.associations,
                sender_associations=settings.receive.sender_associations,
                idle_seconds=settings.receive.idle_seconds,
                storage_classes=settings.receive.storage_classes,
                commitment=commitment,
                listening=door,
                tls=tls if door is listening[-1] else None,  # beside the plain port, or in its place
                refusals=self._refusals,
            )
            for door in listening
        ]

    def _resolve(self) -> float:
        """Look up the hosts that may call, and return when to do so again."""
        for host in self._peers.resolve():
            log.info("caller.known", host=host)
        return RESOLVE_SECONDS

    def start(self) -> None:
        """Begin to accept associations."""
        self._engine.start()
        for receiver in self._receivers:
            receiver.start()

    def stop(self) -> None:
        """Accept no more associations, let the open ones end, and record what they brought."""
        stopping = [
            threading.Thread(target=receiver.stop, kwargs={"seconds": self._settings.engine.stop_seconds})
            for receiver in self._receivers
        ]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        self._engine.stop()
        self._arrivals.record()
        self._refusals.record_now()
        if refused := self._arrivals.unrecorded:
            log.error("refusals.forgotten", refused=refused, reason="the ledger could not be written until the end")
        self._ledger.close()


def wake_node(step: str) -> None:
    """Print the name of a step that the node should wake; it may be lost, where the node hangs or is gone."""
    with suppress(OSError):
        os.write(1, f"{step}\n".encode())


def main(*descriptors: int) -> None:
    """Serve until stdin ends."""
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
    ):  # sent to all processes at once; the node says when to end
        signal.signal(number, signal.SIG_IGN)
    os.set_blocking(1, False)
    listening = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    try:
        settings = Settings.model_validate_json(sys.stdin.readline())
        log_to_stderr(settings.log.level, settings.log.format)
        process = ReceiverProcess(settings, listening, wake_node)
    except NodeError as error:
        log.error("receiver.failed", reason=str(error))
        sys.exit(2)
    process.start()
    sys.stdin.read()
    process.stop()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
