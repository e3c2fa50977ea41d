"""One receiver process, built from the settings: associations in, rows, and nothing that computes.

    python -m node.receiver DESCRIPTOR

The settings come as JSON in the first line of stdin. The end of stdin is the end of the node, stopped or dead: no more
associations are taken, those that are open have `engine.stop_seconds` to end. On stdout stand the names of steps of the
node that may have something to do. It imports neither torch nor highdicom: a node has several of these.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import structlog

from node.deliver import commit_step
from node.engine import Engine, Step
from node.errors import NodeError
from node.log import quiet_log
from node.receive import Arrivals, CommitmentScp, KnownPeers, Receiver, StoreScp
from node.settings import Settings
from node.storage import open_ledger, open_spool

log = structlog.get_logger()

RECEIVE, REPORT = "receive", "report commitment"


class ReceiverProcess:
    """Takes associations from a socket that listens, and records what they bring."""

    def __init__(self, settings: Settings, listening: socket.socket, tell: Callable[[str], object]) -> None:
        address = settings.receive.address
        asked = [commit_step(name) for name, one in settings.destinations.items() if one.commitment]
        ledger, spool = open_ledger(settings), open_spool(settings, made=True)
        self._settings, self._ledger = settings, ledger
        self._arrivals = Arrivals(ledger, spool, wake=lambda: self._engine.wake(RECEIVE))
        promises = CommitmentScp(
            ledger=ledger,
            spool=spool,
            arrivals=self._arrivals,
            ae_title=address.ae_title,
            addresses={one.ae_title: one for one in settings.receive.commitment_to},
            wake=lambda: self._engine.wake(REPORT, *asked),
        )
        steps = [
            Step(name=RECEIVE, work=self._arrivals.record, then=("assemble", "decode")),
            Step(name=REPORT, work=promises.report),
        ]
        self._engine = Engine(steps, elsewhere=tell)
        self._receiver = Receiver(
            address=address,
            peers=KnownPeers.parse(address.ae_title, settings.receive.accept_from),
            store=StoreScp(spool, self._arrivals, closed=self._arrivals.record_soon),
            associations=settings.receive.associations,
            idle_seconds=settings.receive.idle_seconds,
            commitment=promises,
            listening=listening,
        )

    def start(self) -> None:
        """Begin."""
        self._engine.start()
        self._receiver.start()

    def stop(self) -> None:
        """Take no more associations, let the open ones end, and record what they brought."""
        self._receiver.stop(seconds=self._settings.engine.stop_seconds)
        self._engine.stop()
        self._arrivals.record()
        self._ledger.close()


def tell(step: str) -> None:
    """Name a step to the node; a word that is lost, since the node hangs or is gone, does no harm."""
    with suppress(OSError):
        os.write(1, f"{step}\n".encode())


def main(descriptor: int) -> None:
    """Serve until stdin ends."""
    for number in (signal.SIGTERM, signal.SIGINT):  # given to all processes at once; the node says when to end
        signal.signal(number, signal.SIG_IGN)
    quiet_log()
    os.set_blocking(1, False)
    listening = socket.socket(fileno=descriptor)
    try:
        process = ReceiverProcess(Settings.model_validate_json(sys.stdin.readline()), listening, tell)
    except NodeError as error:
        log.error("receiver.failed", reason=str(error))
        sys.exit(2)
    process.start()
    sys.stdin.read()
    process.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]))
