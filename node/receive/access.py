"""Which peers may open associations: pairs of AE title and address, as in `receive.accept_from`."""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from node.errors import ConfigError
from node.negotiation import BLANK

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

REJECTED_PERMANENT, REJECTED_TRANSIENT = 1, 2
SERVICE_USER, PRESENTATION = 1, 3
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


LOCAL_LIMIT_EXCEEDED = Rejection(
    2, "receive.associations are open already; the sender tries again", result=REJECTED_TRANSIENT, source=PRESENTATION
)


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

    def rejection_of_address(self, address: str) -> Rejection | None:
        """Return why an address is rejected, whatever AE title calls from there, or None where some title may."""
        if any(_within(_address(address), network) for _, network in self._known):
            return None
        return Rejection(CALLING_AE_TITLE_NOT_RECOGNIZED, f"address {address} is not in receive.accept_from")

    def rejection(self, *, calling: str, called: str, address: str) -> Rejection | None:
        """Return why a peer is rejected, or None where it is accepted."""
        if calling == BLANK:
            sentence = f"the calling AE title is blank at {address}; give the sender one"
            return Rejection(CALLING_AE_TITLE_NOT_RECOGNIZED, sentence)
        if called != self.called:
            return Rejection(CALLED_AE_TITLE_NOT_RECOGNIZED, f"called AE title {called!r} is not {self.called!r}")
        if any(ae in ("*", calling) and _within(_address(address), network) for ae, network in self._known):
            return None
        return self.rejection_of_address(address) or Rejection(
            CALLING_AE_TITLE_NOT_RECOGNIZED, f"calling AE title {calling!r} at {address} is not in receive.accept_from"
        )

    @property
    def _known(self) -> tuple[tuple[str, IpNetwork], ...]:
        return self.peers or tuple(("*", network) for network in LOOPBACK)


def _address(text: str) -> IpAddress:
    """Read an address; an IPv4-mapped IPv6 address becomes an IPv4 address."""
    return ipaddress.ip_address(text.removeprefix("::ffff:"))


def _within(peer: IpAddress, network: IpNetwork) -> bool:
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
