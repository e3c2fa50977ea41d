"""The role `deliver`: result objects out to the destinations, with Storage Commitment where it is asked for."""

from collections import defaultdict

from node import flow
from node.clock import DAY_SECONDS
from node.deliver import Availability, CommitmentScu, Outbox
from node.engine import Step
from node.profiles import TRANSFER_SYNTAXES
from node.roles.role import NodeParts, NodeRole
from node.settings import Destination


class DeliverRole(NodeRole):
    """Sends to each destination what is due for it."""

    def __init__(self, parts: NodeParts) -> None:
        super().__init__(parts)
        self._availability: dict[str, Availability] = defaultdict(Availability)

    def steps(self) -> list[Step]:
        """See `NodeRole.steps`."""
        destinations = self.parts.settings.destinations
        profiles = self.parts.settings.profiles
        return [
            *(
                flow.deliver(self.parts.ledger, self.parts.spool, self._outbox(name, destination), profiles[name])
                for name, destination in destinations.items()
            ),
            *(
                flow.commit(self._commitment(name, destination))
                for name, destination in destinations.items()
                if destination.commitment
            ),
        ]

    def check(self, parts: NodeParts) -> None:
        """See `NodeRole.check`; ConfigError where the certificates of a destination cannot be used."""
        super().check(parts)
        for destination in parts.settings.destinations.values():
            if destination.tls is not None:
                destination.tls.credentials.context()

    def renew(self, parts: NodeParts) -> None:
        """See `NodeRole.renew`."""
        super().renew(parts)
        self.start()

    def start(self) -> None:
        """Park deliveries to destinations that are no longer configured."""
        self.parts.ledger.deliveries.park_strays(tuple(self.parts.settings.destinations))

    def _outbox(self, name: str, destination: Destination) -> Outbox:
        return Outbox(
            destination=name,
            address=destination.peer,
            calling=self.parts.settings.calling_title(destination),
            seconds=destination.timeout_seconds,
            give_up_seconds=destination.give_up_days * DAY_SECONDS,
            deliveries=self.parts.ledger.deliveries,
            spool=self.parts.spool,
            commitment=destination.commitment,
            stopping=self.parts.stopping,
            availability=self._availability[name],
            paused=lambda: name in self.parts.ledger.pauses.names("destination"),
            transfer_syntax=TRANSFER_SYNTAXES[destination.wants.transfer_syntax],
        )

    def _commitment(self, name: str, destination: Destination) -> CommitmentScu:
        return CommitmentScu(
            destination=name,
            address=destination.peer,
            calling=self.parts.settings.calling_title(destination),
            seconds=destination.timeout_seconds,
            give_up_seconds=destination.give_up_days * DAY_SECONDS,
            commitments=self.parts.ledger.commitments,
        )
