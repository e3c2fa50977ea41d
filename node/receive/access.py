"""Which peers may open associations: pairs of AE title and address, as in `receive.accept_from`."""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from node.errors import ConfigError

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

REJECTED_PERMANENT = 1
SERVICE_USER = 1
CALLING_AE_TITLE_NOT_RECOGNIZED, CALLED_AE_TITLE_NOT_RECOGNIZED = 3, 7
"""Result, source and reason of an A-ASSOCIATE-RJ PDU (PS3.8 table 9-21)."""

LOOPBACK: tuple[IpNetwork, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is rejected: a sentence, and the codes of the A-ASSOCIATE-RJ PDU (PS3.8 section 9.3.4)."""

    diagnostic: int
    sentence: str
    result: int = REJECTED_PERMANENT
    source: int = SERVICE_USER


@dataclass(frozen=True, slots=True)
class KnownPeers:
    """Accepts peers by AE title and address; where none are named, peers on this machine.

    An AE title proves nothing. The address protects, and TLS protects better.
    """

    called: str
    peers: tuple[tuple[str, IpNetwork], ...]

    @classmethod
    def parse(cls, called: str, accept_from: Iterable[str]) -> "KnownPeers":
        """Read AE@host, *@host or AE@network/bits; ConfigError where a host has no address."""
        return cls(called, tuple((ae, network) for text in accept_from for ae, network in _peers(text)))

    def rejection(self, *, calling: str, called: str, address: str) -> Rejection | None:
        """Return why a peer is rejected, or None where it is accepted."""
        if called != self.called:
            return Rejection(CALLED_AE_TITLE_NOT_RECOGNIZED, f"called AE title {called!r} is not {self.called!r}")
        peer = ipaddress.ip_address(address.removeprefix("::ffff:"))
        known = self.peers or tuple(("*", network) for network in LOOPBACK)
        if not any(_within(peer, network) for _, network in known):
            sentence = f"address {address} is not in receive.accept_from"
            return Rejection(CALLING_AE_TITLE_NOT_RECOGNIZED, sentence)
        if not any(ae in ("*", calling) and _within(peer, network) for ae, network in known):
            sentence = f"calling AE title {calling!r} at {address} is not in receive.accept_from"
            return Rejection(CALLING_AE_TITLE_NOT_RECOGNIZED, sentence)
        return None


def _within(peer: ipaddress.IPv4Address | ipaddress.IPv6Address, network: IpNetwork) -> bool:
    return peer.version == network.version and peer in network


def _peers(text: str) -> list[tuple[str, IpNetwork]]:
    ae, _, host = text.partition("@")
    try:
        return [(ae, ipaddress.ip_network(host, strict=False))]
    except ValueError:
        pass
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError) as error:  # a name too long for the DNS is a UnicodeError
        raise ConfigError(
            f"receive.accept_from: {host!r} in {text!r} is no address and no host name known here"
        ) from error
    return [(ae, ipaddress.ip_network(str(address))) for address in sorted(map(str, found))]
