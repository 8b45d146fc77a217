"""Certificates made on the spot: an authority, and what it signs for servers and clients."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """Paths of PEM files: a certificate, its key, and both in one file, as a broker's keystore wants them."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates; ``certificate`` is the PEM file by which others know it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        self.certificate = folder / f"{name}.pem"
        signed = (
            self._builder(self._name, now - 30 * _DAY, now + 30 * _DAY)
            .public_key(self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def sign(
        self, name: str, address: str | None = None, *, host: str | None = None, expired: bool = False
    ) -> Identity:
        """A certificate for the subject ``CN=name``, and for the server at ``address`` or ``host``."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        last = now - _DAY if expired else now + _DAY
        builder = self._builder(subject, now - 2 * _DAY, last).public_key(key.public_key())
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address))] if address else []
        names += [x509.DNSName(host)] if host else []
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        paths = Identity(*(self._folder / f"{name}{suffix}.pem" for suffix in (".crt", ".key", "")))
        paths.certificate.write_bytes(certificate)
        for path, content in ((paths.key, private), (paths.both, private + certificate)):
            path.touch(mode=0o600)
            path.write_bytes(content)
        return paths

    def _builder(self, subject: x509.Name, first: dt.datetime, last: dt.datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(first)
            .not_valid_after(last)
        )
