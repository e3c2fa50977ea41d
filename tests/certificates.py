"""Authorities and certificates for TLS, made on the spot by openssl."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

NEEDS = "openssl"
SAN = "subjectAltName=DNS:localhost,IP:127.0.0.1"
CRL_SETTINGS = """\
[ca]
default_ca = here
[here]
database = {folder}/index.txt
default_md = sha256
default_crl_days = 30
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: Path
    key: Path


def openssl(*words: object) -> None:
    program = shutil.which(NEEDS) or NEEDS
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Authority:
    """An authority that signs certificates, in a folder of its own."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        folder.mkdir(parents=True)
        own = cls(folder)
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 100,
            "-subj", f"/CN={folder.name}", "-keyout", folder / "ca.key", "-out", own.certificate,
        )  # fmt: skip
        return own

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def sign(self, name: str, *, days: int = 100) -> Pair:
        """Return a certificate that ends in so many days, for a server and a client at localhost."""
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / "extensions"
        extensions.write_text(SAN)
        openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", pair.key, "-out", request,
        )  # fmt: skip
        openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.folder / "ca.key",
            "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", pair.certificate,
        )  # fmt: skip
        os.chmod(pair.key, 0o600)  # noqa: PTH101
        return pair

    def revoke(self, *pairs: Pair) -> Path:
        """Return a list of revoked certificates with these."""
        (self.folder / "index.txt").touch()
        settings, found = self.folder / "ca.cnf", self.folder / "revoked.pem"
        settings.write_text(CRL_SETTINGS.format(folder=self.folder))
        own = ("-config", settings, "-cert", self.certificate, "-keyfile", self.folder / "ca.key")
        for pair in pairs:
            openssl("ca", *own, "-revoke", pair.certificate)
        openssl("ca", *own, "-gencrl", "-out", found)
        return found
