"""Who may call: pairs of AE title and address, as people write them in `receive.accept_from`."""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from node.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is rejected, in words and in the codes of A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""

    result: int
    source: int
    diagnostic: int
    sentence: str


@dataclass(frozen=True, slots=True)
class KnownPeers:
    """Accepts callers by AE title and address; from this machine alone when none are named.

    An AE title is no proof of who calls: the address is what protects, and TLS more so.
    """

    called: str
    peers: tuple[tuple[str, Network], ...]

    @classmethod
    def parse(cls, called: str, accept_from: Iterable[str]) -> "KnownPeers":
        """Read AE@host, *@host or AE@network/bits; ConfigError where a host has no address."""
        return cls(called, tuple((ae, network) for text in accept_from for ae, network in _peers(text)))

    def rejection(self, *, calling: str, called: str, address: str) -> Rejection | None:
        """Return why a caller is rejected, or None for one that is welcome."""
        if called != self.called:
            return Rejection(1, 1, 7, f"called AE title {called!r} is not {self.called!r}")
        peer = ipaddress.ip_address(address.removeprefix("::ffff:"))
        known = self.peers or tuple(("*", network) for network in LOOPBACK)
        if not any(_within(peer, network) for _, network in known):
            return Rejection(1, 1, 3, f"address {address} is not in receive.accept_from")
        if not any(ae in ("*", calling) and _within(peer, network) for ae, network in known):
            return Rejection(1, 1, 3, f"calling AE title {calling!r} at {address} is not in receive.accept_from")
        return None


def _within(peer: ipaddress.IPv4Address | ipaddress.IPv6Address, network: Network) -> bool:
    return peer.version == network.version and peer in network


def _peers(text: str) -> list[tuple[str, Network]]:
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
