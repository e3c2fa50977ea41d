"""Which peers may open associations: pairs of AE title and address, as in `receive.accept_from`."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from node.errors import ConfigError
from node.negotiation import BLANK

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

REJECTED_PERMANENT, REJECTED_TRANSIENT = 1, 2
SERVICE_USER, PRESENTATION = 1, 3
CALLING_AE_TITLE_NOT_RECOGNIZED, CALLED_AE_TITLE_NOT_RECOGNIZED = 3, 7
"""Result, source and reason of an A-ASSOCIATE-RJ PDU (PS3.8 table 9-21)."""

HOST_NAME = re.compile(r"(?=.*[A-Za-z])(?=.{1,253}$)([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
"""A host's name as the DNS has it (RFC 1123 section 2.1), with a letter: a mistyped address is none."""
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


SENDER_LIMIT_EXCEEDED = Rejection(
    2, "receive.sender_associations of this address are open already", result=REJECTED_TRANSIENT, source=PRESENTATION
)


@dataclass(slots=True)
class KnownPeers:
    """Accepts peers by AE title and address; where none are named, peers on this machine.

    An AE title proves nothing. The address protects, and TLS protects better. A host name stands for the addresses that
    it had when it was last resolved; a host that has none yet is waited for.
    """

    called: str
    callers: tuple[tuple[str, str], ...]
    """AE title and host, address or network, as `receive.accept_from` names them."""
    _addresses: dict[str, tuple[IpNetwork, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, called: str, accept_from: Iterable[str]) -> "KnownPeers":
        """Read AE@host, *@host or AE@network/bits, and resolve hosts; ConfigError where one cannot be a host's name."""
        callers = [(ae, host) for ae, _, host in (text.partition("@") for text in accept_from)]
        for ae, host in callers:
            if _network(host) is None and not HOST_NAME.fullmatch(host):
                raise ConfigError(f"receive.accept_from: {host!r} in '{ae}@{host}' is no address and no host name")
        peers = cls(called, tuple(callers))
        peers.resolve()
        return peers

    @property
    def peers(self) -> tuple[tuple[str, IpNetwork], ...]:
        """AE titles and the networks that they may call from, as far as these are known now."""
        if not self.callers:
            return tuple(("*", network) for network in LOOPBACK)
        return tuple((ae, network) for ae, host in self.callers for network in self._addresses.get(host, ()))

    @property
    def unresolved(self) -> list[str]:
        """The hosts that have no address yet."""
        return list(dict.fromkeys(host for _, host in self.callers if not self._addresses.get(host)))

    def resolve(self) -> list[str]:
        """Look up the addresses of all hosts, and return which became known; a host keeps its last ones meanwhile."""
        before = self.unresolved
        found = {host: _networks(host) or self._addresses.get(host, ()) for _, host in self.callers}
        self._addresses = found
        return [host for host in before if found.get(host)]

    def rejection_of_address(self, address: str) -> Rejection | None:
        """Return why an address is rejected, whatever AE title calls from there, or None where some title may."""
        if any(_within(_address(address), network) for _, network in self.peers):
            return None
        sentence = f"address {address} is not in receive.accept_from"
        if self.unresolved:
            sentence += f", of which no address is known for {', '.join(self.unresolved)}"
        return Rejection(CALLING_AE_TITLE_NOT_RECOGNIZED, sentence)

    def rejection(self, *, calling: str, called: str, address: str) -> Rejection | None:
        """Return why a peer is rejected, or None where it is accepted."""
        if calling == BLANK:
            sentence = f"the calling AE title is blank at {address}; give the sender one"
            return Rejection(CALLING_AE_TITLE_NOT_RECOGNIZED, sentence)
        if called != self.called:
            return Rejection(CALLED_AE_TITLE_NOT_RECOGNIZED, f"called AE title {called!r} is not {self.called!r}")
        if any(ae in ("*", calling) and _within(_address(address), network) for ae, network in self.peers):
            return None
        return self.rejection_of_address(address) or Rejection(
            CALLING_AE_TITLE_NOT_RECOGNIZED, f"calling AE title {calling!r} at {address} is not in receive.accept_from"
        )


def _address(text: str) -> IpAddress:
    """Read an address; an IPv4-mapped IPv6 address becomes an IPv4 address."""
    return ipaddress.ip_address(text.removeprefix("::ffff:"))


def _within(peer: IpAddress, network: IpNetwork) -> bool:
    return peer.version == network.version and peer in network


def _network(host: str) -> IpNetwork | None:
    """Return an address or network that is written as such; None where it is none."""
    try:
        return ipaddress.ip_network(host, strict=False)
    except ValueError:
        return None


def _networks(host: str) -> tuple[IpNetwork, ...]:
    """Return what a host, address or network stands for; nothing where the host is not known now."""
    if (network := _network(host)) is not None:
        return (network,)
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return ()
    return tuple(ipaddress.ip_network(address.partition("%")[0]) for address in sorted(found))
