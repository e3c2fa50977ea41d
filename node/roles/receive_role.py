"""The role `receive`: associations in, until studies are stable and their jobs are planned."""

from collections.abc import Sequence
from types import NoneType

import structlog

from node import flow
from node.assemble import decode
from node.clock import DAY_SECONDS
from node.engine import Sandbox, Step, run_in_child
from node.faults import armed
from node.images import decoded
from node.images.header_summary import read_summary
from node.images.part10 import Part10
from node.receive import Arrivals, Receivers
from node.roles import receiver_process
from node.roles.role import BEAT_SECONDS, KILL_SECONDS, NodeParts, NodeRole
from node.tls import digest

log = structlog.get_logger()

DECODE_SECONDS = 120.0
"""How long the decoding of a few images may take before its process is killed."""


DECODER_BYTES, DECODED = 2**30, 16
"""A process that decodes may allocate so many bytes, and so many times the size of its images."""


def memory_limit(parts: Sequence[Part10]) -> int:
    """Return how many bytes the decoding of images may allocate, by the sizes in their headers."""
    summaries = [summary for part in parts if (summary := read_summary(part.summary)) is not None]
    return DECODER_BYTES + DECODED * sum(summary.volume_bytes for summary in summaries)


def _certificates(parts: NodeParts) -> str:
    """Return a digest of the files that TLS reads when a receiver process starts."""
    tls = parts.settings.receive.tls
    return digest(tls.credentials.files if tls else ())


class ReceiveRole(NodeRole):
    """Runs the receiver processes, and settles, plans and purges what they receive."""

    def __init__(self, parts: NodeParts) -> None:
        super().__init__(parts)
        self._arrivals = Arrivals(parts.ledger.studies, parts.ledger.instances, parts.spool, wake=lambda: None)
        self._receivers = Receivers(
            address=parts.settings.receive.listening,
            program=receiver_process.__name__,
            order=parts.settings.model_dump_json(),
            processes=parts.settings.receive.processes,
            wake=parts.wake,
            recover=self._arrivals.recover,
            beside=parts.settings.receive.tls_listening,
        )
        self._certificates = _certificates(parts)

    def steps(self) -> list[Step]:
        """See `NodeRole.steps`."""
        settings, ledger, spool, routes = self.parts.settings, self.parts.ledger, self.parts.spool, self.parts.routes
        steps = [
            flow.receive(self._receivers),
            flow.assemble(ledger, spool, routes),
            flow.route(ledger, spool, routes),
            flow.purge(
                ledger,
                spool,
                keep_seconds=settings.spool.keep_days * DAY_SECONDS,
                history_seconds=settings.ledger.keep_days * DAY_SECONDS,
            ),
        ]
        if settings.receive.decoders:
            limit = settings.receive.decoded_mb * 2**20
            threads = settings.receive.decoders
            steps.append(flow.decode_early(ledger, spool, routes, self._decode, limit=limit, threads=threads))
        return steps

    def start(self) -> None:
        """Record what was received and has no row, and start the receiver processes, which outlive an error here."""
        if self._arrivals.recover():
            parked = self.parts.ledger.rebuilding.park_analysed(self.parts.spool.studies_with_results())
            if parked:
                log.error("ledger.rows_lost", studies=parked, reason="rows of studies that had results were gone")
        self._arrivals.miss()
        folder = self.parts.spool.decoded
        decoded.drop(folder, decoded.sizes(folder))  # a killed process may have written half of an image
        self._receivers.start()

    def check(self, parts: NodeParts) -> None:
        """See `NodeRole.check`; ConfigError where the certificates for TLS cannot be used."""
        super().check(parts)
        if parts.settings.receive.tls is not None:
            parts.settings.receive.tls.credentials.context()

    def renew(self, parts: NodeParts) -> None:
        """See `NodeRole.renew`; receiver processes with the new settings take over, and the former end in peace.

        They also do so where a certificate, key or list for TLS has changed.
        """
        super().renew(parts)
        before, self._certificates = self._certificates, _certificates(parts)
        self._receivers.renew(parts.settings.model_dump_json(), anew=self._certificates != before)

    def stop(self, seconds: float) -> None:  # noqa: ARG002 (the processes know `engine.stop_seconds`)
        """See `NodeRole.stop`; no association is accepted any more."""
        self._receivers.close()

    def close(self, seconds: float) -> None:
        """See `NodeRole.close`."""
        self._receivers.wait(seconds + KILL_SECONDS)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._receivers.port

    def _decode(self, parts: Sequence[Part10]) -> None:
        sandbox = Sandbox(
            writable=(self.parts.spool.decoded,),
            hidden=self.parts.settings.private_files,
            signals=armed(),
            memory=memory_limit(parts),
        )
        run_in_child(
            decode,
            (parts,),
            returns=NoneType,
            sandbox=sandbox,
            seconds=DECODE_SECONDS,
            beat=lambda: not self.parts.stopping(),
            beat_seconds=BEAT_SECONDS,
        )
