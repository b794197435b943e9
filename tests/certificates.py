"""Certificates for tests: a private authority, and what it signs."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import NamedTuple

import trustme

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_EXPIRED = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class CertificateFiles(NamedTuple):
    certificate: Path
    """PEM, with the chain."""
    key: Path


class Authority:
    """A certificate authority that only those who are given `ca_file` trust."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self._issued = 0
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca_file)

    def server_context(self, *names: str, expired: bool = False, asks_client: bool = False) -> ssl.SSLContext:
        """For a server called `names` (default: this machine).

        `asks_client`: it refuses clients without a certificate of this authority.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._issue(names, expired).configure_cert(context)
        if asks_client:
            self._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this authority alone, and checks the host name."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def issue_files(self, *names: str, expired: bool = False) -> CertificateFiles:
        """A certificate and its key as files, for a client or for a server of another program."""
        certificate = self._issue(names, expired)
        self._issued += 1
        files = CertificateFiles(
            self._folder / f"certificate-{self._issued}.pem", self._folder / f"key-{self._issued}.pem"
        )
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(files.certificate, append=True)
        certificate.private_key_pem.write_to_path(files.key)
        return files

    def _issue(self, names: tuple[str, ...], expired: bool) -> trustme.LeafCert:
        if not expired:
            return self._ca.issue_cert(*(names or LOCAL_NAMES))
        return self._ca.issue_cert(
            *(names or LOCAL_NAMES), not_before=_EXPIRED - datetime.timedelta(days=90), not_after=_EXPIRED
        )
