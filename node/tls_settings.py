"""The tables of TLS in config/isocenter.toml, for the receiver and for each destination."""

from pathlib import Path
from typing import TypeVar

from pydantic import Field, model_validator

from node.tls import ClientTls, ServerTls
from node.toml_files import Table


class ReceiveTls(Table):
    """TLS for those who call the node."""

    certificate: Path
    """Certificate of the node, in PEM, with those between it and its authority."""
    key: Path
    """Its private key, in PEM without a password; other users of the machine must not be able to read it."""
    authorities: Path | None = None
    """Certificates of the authorities that sign those of senders, in PEM."""
    revoked: Path | None = None
    """Certificate revocation lists of these authorities, in PEM."""
    require_client_certificate: bool = True
    """Whether a sender without a certificate of `authorities` is refused (mutual authentication)."""
    names: tuple[str, ...] = ()
    """Names in certificates (Common Name or Subject Alternative Name) that may call. Empty: each that an authority has
    signed."""
    port: int = Field(default=0, ge=0, le=65535)
    """A port for TLS beside the plain one, such as 2762. 0: the port of `receive.address` speaks TLS alone."""

    @model_validator(mode="after")
    def _has_authorities(self) -> "ReceiveTls":
        if (self.require_client_certificate or self.names) and self.authorities is None:
            raise ValueError("name the authorities that sign the certificates of senders, in `authorities`")
        return self

    @property
    def credentials(self) -> ServerTls:
        """The files and names as a value."""
        return ServerTls(
            certificate=self.certificate,
            key=self.key,
            authorities=self.authorities,
            revoked=self.revoked,
            required=self.require_client_certificate,
            names=self.names,
        )


class DestinationTls(Table):
    """TLS for a destination."""

    authorities: Path | None = None
    """Certificates of the authorities that may have signed that of the destination, in PEM. Without: those that the
    system trusts."""
    certificate: Path | None = None
    """Certificate that the node shows, in PEM, where the destination asks for one."""
    key: Path | None = None
    """Its private key, in PEM without a password; other users of the machine must not be able to read it."""
    revoked: Path | None = None
    """Certificate revocation lists of the authorities, in PEM."""
    check_host: bool = True
    """Whether the certificate of the destination must have the host name or address of `address`."""

    @model_validator(mode="after")
    def _has_both(self) -> "DestinationTls":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` belong together")
        return self

    @property
    def credentials(self) -> ClientTls:
        """The files as a value."""
        return ClientTls(
            authorities=self.authorities,
            certificate=self.certificate,
            key=self.key,
            revoked=self.revoked,
            check_host=self.check_host,
        )


FILES = ("certificate", "key", "authorities", "revoked")
AnyTls = TypeVar("AnyTls", ReceiveTls, DestinationTls)


def at(folder: Path, tls: AnyTls | None) -> AnyTls | None:
    """Return a table with relative paths taken from a folder."""
    if tls is None:
        return None
    paths = {name: folder / path for name in FILES if (path := getattr(tls, name)) is not None}
    return tls.model_copy(update=paths)
