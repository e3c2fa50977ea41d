"""The node's receiver alone, with its ledger, in a process of its own: what the bench sends to.

Each line on its input names a folder: a new spool and ledger are begun there, on the socket whose descriptor
it is given. With a certificate, its key and its authority, it speaks TLS. At the end of the input it tells as JSON what
the ledger took.
"""

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

from node.engine import Engine, Step
from node.ledger import Ledger
from node.ledger.instances import Instances
from node.log import log_to_stderr
from node.receive import Arrivals, KnownPeers, Receiver, StoreScp
from node.records import Address, Arrival, Instance, Place
from node.spool import Spool
from node.tls import ServerTls

ASSOCIATIONS = 100
IDLE_SECONDS = 600.0

WARMING = Arrival(
    instance=Instance(
        sop_instance_uid="1.2.1", sop_class_uid="1.2", study_uid="1.2.2", series_uid="1.2.3", modality="CT",
        transfer_syntax_uid="1.2", calling="", peer="", received_at=0.0, checksum=1,
    ),
    place=Place(pack="warming", offset=0, length=1),
    end=1,
)  # fmt: skip


class Timed(Instances):
    """Measures what its work costs."""

    cpu_seconds = 0.0
    count = 0

    def record(self, arrivals: Any, refusals: Any = (), ends: Any = ()) -> list[str]:
        begun = time.thread_time()
        changed = super().record(arrivals, refusals)
        if arrivals != [WARMING]:
            Timed.cpu_seconds += time.thread_time() - begun
            Timed.count += len(arrivals)
        return changed


class Node:
    """All that stands behind the port."""

    def __init__(self, folder: Path, listening: socket.socket, *, synced: bool, tls: ServerTls | None) -> None:
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        self.ledger.instances = Timed(self.ledger.db)
        spool = Spool(folder / "spool", synced=synced)
        self.arrivals = Arrivals(
            self.ledger.studies,
            self.ledger.instances,
            spool,
            wake=lambda: self.engine.wake("receive"),
        )
        self.engine = Engine([Step(name="receive", work=self.arrivals.record)])
        self.receiver = Receiver(
            address=Address("ISOCENTER", *listening.getsockname()),
            peers=KnownPeers.parse("ISOCENTER", ()),
            store=StoreScp(spool, self.arrivals),
            associations=ASSOCIATIONS,
            idle_seconds=IDLE_SECONDS,
            listening=listening.dup(),
            tls=tls,
        )
        self.ledger.instances.record([WARMING])  # a node that has run for long has its statements compiled
        self.engine.start()
        self.receiver.start()

    def stop(self) -> None:
        self.receiver.stop()
        self.engine.stop()
        self.arrivals.record()
        self.ledger.close()


def main(descriptor: int, durability: str, *files: str) -> None:
    log_to_stderr("warning", "json")  # stdout is for the bench
    tls = None
    if files:
        certificate, key, authorities = map(Path, files)
        tls = ServerTls(certificate=certificate, key=key, authorities=authorities)
    listening = socket.socket(fileno=descriptor)
    listening.settimeout(0)  # of several processes that are woken for a caller, one gets it
    node: Node | None = None
    for line in sys.stdin:
        if node is not None:
            node.stop()
        node = Node(Path(line.strip()), listening, synced=durability == "power", tls=tls)
        print("ready", flush=True)
    if node is not None:
        node.stop()
    print(json.dumps({"cpu_seconds": Timed.cpu_seconds, "instances": Timed.count}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
