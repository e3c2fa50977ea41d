"""Which peers may open associations, and how others are rejected."""

import socket

import pytest

from node.errors import ConfigError
from node.receive.access import KnownPeers


def sentence(peers: KnownPeers, calling: str, address: str, called: str = "ISOCENTER") -> str | None:
    rejection = peers.rejection(calling=calling, called=called, address=address)
    return rejection.sentence if rejection else None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
def test_without_names_this_machine_alone_may_call(address: str) -> None:
    peers = KnownPeers.parse("ISOCENTER", ())
    assert sentence(peers, "ANYONE", address) is None
    assert sentence(peers, "ANYONE", "10.0.0.5") == "address 10.0.0.5 is not in receive.accept_from"
    assert sentence(peers, "ANYONE", "::ffff:10.0.0.5") == "address ::ffff:10.0.0.5 is not in receive.accept_from"
    assert sentence(peers, "ANYONE", "fe80::1%eth0") == "address fe80::1%eth0 is not in receive.accept_from"


def test_naming_others_shuts_out_this_machine() -> None:
    peers = KnownPeers.parse("ISOCENTER", ["CT1@10.0.0.11"])
    assert sentence(peers, "CT1", "127.0.0.1") == "address 127.0.0.1 is not in receive.accept_from"


def test_a_pair_of_title_and_address_is_asked_for() -> None:
    peers = KnownPeers.parse("ISOCENTER", ["CT1@10.0.0.11", "PACS@10.0.0.5"])
    assert sentence(peers, "CT1", "10.0.0.11") is None
    assert sentence(peers, "CT1", "::ffff:10.0.0.11") is None
    assert sentence(peers, "CT1", "10.0.0.5") == "calling AE title 'CT1' at 10.0.0.5 is not in receive.accept_from"
    assert sentence(peers, "ct1", "10.0.0.11") == "calling AE title 'ct1' at 10.0.0.11 is not in receive.accept_from"


def test_a_star_lets_every_title_in_and_a_network_every_address_of_it() -> None:
    peers = KnownPeers.parse("ISOCENTER", ["*@10.0.0.0/24", "CT1@192.168.1.9/24", "V6@2001:db8::/32"])
    assert sentence(peers, "ANYONE", "10.0.0.77") is None
    assert sentence(peers, "ANYONE", "10.0.1.77") == "address 10.0.1.77 is not in receive.accept_from"
    assert sentence(peers, "CT1", "192.168.1.200") is None
    assert sentence(peers, "V6", "2001:db8::7") is None


def test_a_call_for_somebody_else_is_rejected_before_all() -> None:
    peers = KnownPeers.parse("ISOCENTER", ())
    rejection = peers.rejection(calling="CT1", called="OTHER", address="10.9.9.9")
    assert rejection is not None
    assert rejection.sentence == "called AE title 'OTHER' is not 'ISOCENTER'"


def test_a_rejection_has_the_codes_of_the_standard() -> None:
    """PS3.8 table 9-21: permanent, by the service user, called (7) or calling (3) AE title not recognised."""
    peers = KnownPeers.parse("ISOCENTER", ())
    for called, address, diagnostic in (("OTHER", "127.0.0.1", 7), ("ISOCENTER", "10.0.0.1", 3)):
        rejection = peers.rejection(calling="CT1", called=called, address=address)
        assert rejection is not None
        assert (rejection.result, rejection.source, rejection.diagnostic) == (1, 1, diagnostic)


def test_a_host_name_stands_for_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", (address, 0)) for address in ("10.0.0.5", "2001:db8::5", "10.0.0.5")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
    peers = KnownPeers.parse("ISOCENTER", ["PACS@pacs.hospital"])
    assert len(peers.peers) == 2
    assert sentence(peers, "PACS", "10.0.0.5") is None
    assert sentence(peers, "PACS", "2001:db8::5") is None
    assert sentence(peers, "CT1", "10.0.0.5") is not None


@pytest.mark.parametrize("host", ["", "10.0.0.256", "10.0.0.0/99", "a" * 80 + ".hospital"])
def test_what_cannot_be_a_host_is_an_error(host: str) -> None:
    with pytest.raises(ConfigError, match=r"receive\.accept_from: '.*' in 'CT1@.*' is no address and no host name"):
        KnownPeers.parse("ISOCENTER", [f"CT1@{host}"])


def test_a_host_without_an_address_is_waited_for_and_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, str] = {}

    def lookup(host: str, _port: None) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (known[host], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    peers = KnownPeers.parse("ISOCENTER", ["PACS@pacs.hospital"])
    assert peers.unresolved == ["pacs.hospital"]
    assert sentence(peers, "PACS", "127.0.0.1") is not None, "not even this machine, as with an empty list"
    told = "address 10.0.0.5 is not in receive.accept_from, of which no address is known for pacs.hospital"
    assert sentence(peers, "PACS", "10.0.0.5") == told
    known["pacs.hospital"] = "10.0.0.5"
    assert peers.resolve() == ["pacs.hospital"]
    assert sentence(peers, "PACS", "10.0.0.5") is None
    known.clear()
    assert peers.resolve() == []
    assert sentence(peers, "PACS", "10.0.0.5") is None, "it keeps the address that it had while the DNS is away"
    known["pacs.hospital"] = "10.0.0.6"
    peers.resolve()
    assert sentence(peers, "PACS", "10.0.0.5") is not None, "it has moved"
    assert sentence(peers, "PACS", "10.0.0.6") is None
