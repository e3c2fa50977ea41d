"""DICOM over TLS (PS3.15 B.12 and B.13, BCP 195): what each side needs, and sentences for what goes wrong.

TLS 1.2 at least, 1.3 where the peer has it; suites have forward secrecy and authenticated encryption. Files are PEM.
"""

import hashlib
import socket
import ssl
import time
from _ssl import _test_decode_cert  # type: ignore[attr-defined]  # the standard library has no other reader of files
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.errors import ConfigError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Suites of TLS 1.2 (RFC 9325 section 4.2); those of TLS 1.3 are all of this kind."""
HANDSHAKE = b"\x16\x03"
"""How the first record of TLS begins (RFC 8446 section 5.1): no PDU begins like this."""
DAY_SECONDS = 86400.0
WARNED_DAYS = 30
"""A certificate that ends in fewer days is warned of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """What the node needs to be called by TLS.

    Parameters
    ----------
    authorities
        Certificates of those who sign the senders' certificates.
    revoked
        Certificate revocation lists of those authorities.
    required
        Whether a sender without a certificate is refused.
    names
        The names of certificates that may call; empty: all that an authority has signed.
    """

    certificate: Path
    key: Path
    authorities: Path | None = None
    revoked: Path | None = None
    required: bool = True
    names: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        return _named(self.certificate, self.key, self.authorities, self.revoked)

    def context(self) -> ssl.SSLContext:
        """Read the files; ConfigError where one cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0  # associations are long: nobody resumes a session
        _restrict(context)
        _load_own(context, self.certificate, self.key)
        _load_authorities(context, self.authorities, self.revoked)
        if self.authorities is not None:
            context.verify_mode = ssl.CERT_REQUIRED if self.required else ssl.CERT_OPTIONAL
        return context

    def refusal(self, connection: ssl.SSLSocket) -> str | None:
        """Return why the certificate of a peer may not call, or None where it may."""
        if not self.names:
            return None
        names = _names(connection.getpeercert() or {})
        if names & set(self.names):
            return None
        whose = ", ".join(sorted(names)) or "the peer, which showed none"
        return f"TLS: the certificate of {whose} is not in receive.tls.names"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """What the node needs to call a destination by TLS.

    Parameters
    ----------
    authorities
        Certificates of those who may have signed that of the destination; without, those that the system trusts.
    certificate, key
        What the node shows where the destination asks for a certificate.
    check_host
        Whether the certificate of the destination must have the name or address that it is called by.
    """

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    revoked: Path | None = None
    check_host: bool = True

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        return _named(self.certificate, self.key, self.authorities, self.revoked)

    def context(self) -> ssl.SSLContext:
        """Read the files; ConfigError where one cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _restrict(context)
        context.check_hostname = self.check_host
        if self.certificate is not None and self.key is not None:
            _load_own(context, self.certificate, self.key)
        _load_authorities(context, self.authorities, self.revoked)
        if self.authorities is None:
            context.load_default_certs()
        return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        _readable(path)
    if key.stat().st_mode & 0o007:
        raise ConfigError(f"{key}: every user of this machine may read this private key; chmod o= {key}")
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            raise ConfigError(f"{key} is not the private key of {certificate}") from error
        raise ConfigError(
            f"{certificate} and {key} are not a certificate and its private key without a password, in PEM: {error}"
        ) from error


def _load_authorities(context: ssl.SSLContext, authorities: Path | None, revoked: Path | None) -> None:
    for path in _named(authorities, revoked):
        _readable(path)
        try:
            context.load_verify_locations(path)
        except ssl.SSLError as error:
            raise ConfigError(f"{path} has no certificates or revocation lists in PEM: {error}") from error
    if revoked is not None:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _named(*paths: Path | None) -> tuple[Path, ...]:
    return tuple(path for path in paths if path is not None)


def _names(certificate: Mapping[str, Any]) -> set[str]:
    """Return the Common Names and the Subject Alternative Names of a certificate."""
    subject: Iterable[tuple[str, str]] = (pair for part in certificate.get("subject", ()) for pair in part)
    common = {value for key, value in subject if key == "commonName"}
    return common | {value for _, value in certificate.get("subjectAltName", ())}


def digest(files: Iterable[Path]) -> str:
    """Return a digest of the content of files, by which a change of any is seen."""
    found = hashlib.sha256()
    for path in files:
        found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()


def days_left(certificate: Path, now: float | None = None) -> float:
    """Return in how many days a certificate ends; ConfigError where it cannot be read."""
    _readable(certificate)
    try:
        ends = ssl.cert_time_to_seconds(_test_decode_cert(certificate)["notAfter"])
    except ssl.SSLError as error:
        raise ConfigError(f"{certificate} is no certificate in PEM: {error}") from error
    return (ends - (time.time() if now is None else now)) / DAY_SECONDS


def expiry(certificate: Path, now: float | None = None) -> str | None:
    """Return a sentence where a certificate has ended or ends soon, and None otherwise."""
    left = days_left(certificate, now)
    if left > WARNED_DAYS:
        return None
    when = "has expired" if left <= 0 else f"expires in {left:.0f} days"
    return f"{certificate} {when}; put a new certificate in its place, then isocenter reload"


def expiring(certificates: Iterable[Path]) -> list[str]:
    """Return a sentence for each certificate that has ended, ends soon, or cannot be read."""
    sentences: list[str] = []
    for certificate in certificates:
        try:
            sentences += filter(None, [expiry(certificate)])
        except ConfigError as error:
            sentences.append(str(error))
    return sentences


def shows(host: str, port: int, certificate: Path) -> bool:
    """Return whether what listens there shows a certificate: then it is the node itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent
    pem = certificate.read_text(encoding="ascii", errors="replace")
    try:
        first = ssl.PEM_cert_to_DER_cert(
            pem[pem.index(ssl.PEM_HEADER) : pem.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
        )
        with (
            socket.create_connection((host, port), timeout=2) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return connection.getpeercert(binary_form=True) == first
    except (OSError, ValueError):
        return False


VERIFIED = {
    9: "is not valid yet; is a clock wrong?",
    10: "has expired; it needs a new one",
    3: "was issued by an authority of which the file of revoked certificates has no list",
    12: "cannot be checked, since the list of revoked certificates is out of date; fetch a new one",
    18: "is self-signed, and not among the authorities",
    19: "was issued by an authority that is not trusted",
    20: "was issued by an authority that is not trusted",
    21: "was issued by an authority that is not trusted",
    23: "is revoked",
    26: "was not issued for this purpose (its extended key usage)",
    62: "has another host name than it was called by",
    64: "has another address than it was called by",
}
"""What a verification error of OpenSSL says of the peer's certificate (x509_vfy.h)."""
ALERTS = {
    "UNKNOWN_CA": "the peer does not trust the authority of our certificate; it must know it",
    "ALERT_BAD_CERTIFICATE": "the peer does not take our certificate",
    "ALERT_CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "ALERT_CERTIFICATE_REVOKED": "the peer says that our certificate is revoked",
    "ALERT_CERTIFICATE_UNKNOWN": "the peer does not take our certificate",
    "CERTIFICATE_REQUIRED": "the peer wants a certificate of ours, and there is none for it",
    "ALERT_HANDSHAKE_FAILURE": "the peer found no version or cipher suite in common, or wants a certificate of ours",
    "ALERT_PROTOCOL_VERSION": "the peer has no TLS 1.2 or later",
    "DID_NOT_RETURN_A_CERTIFICATE": "the peer has shown no certificate; give it one",
    "UNSUPPORTED_PROTOCOL": "the peer has no TLS 1.2 or later",
    "VERSION_TOO_LOW": "the peer has no TLS 1.2 or later",
    "NO_SHARED_CIPHER": "the peer has no cipher suite with forward secrecy and authenticated encryption (BCP 195)",
    "HTTP_REQUEST": "the peer speaks HTTP",
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS on this connection; switch TLS on there, or off here",
    "RECORD_LAYER_FAILURE": "the peer does not speak TLS on this connection; switch TLS on there, or off here",
    "BAD_RECORD_TYPE": "the peer does not speak TLS on this connection; switch TLS on there, or off here",
}
"""What a reason of OpenSSL means; the first that is found in it."""


def sentence(error: OSError) -> str:
    """Say what went wrong in a handshake, and who must act."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what = VERIFIED.get(error.verify_code, f"cannot be trusted: {error.verify_message}")
        return f"TLS: the certificate of the peer {what}"
    if isinstance(error, TimeoutError):
        return "TLS: the peer did not go on with the handshake"
    reason = getattr(error, "reason", None) or ""
    meaning = next((meaning for word, meaning in ALERTS.items() if word in reason), None)
    if meaning is not None:
        return f"TLS: {meaning}"
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return "TLS: the peer hung up in the handshake; its log says why"
    return f"TLS: {reason or error}"
