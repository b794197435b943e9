from __future__ import annotations

import socket
import ssl
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority

from livepost.errors import ConfigurationError
from livepost.rehearsal.certificates import practice_certificate, server_context
from livepost.rehearsal.server import PracticeServer


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("127.0.0.1", ["localhost", "127.0.0.1"]),
        ("practice.test", ["practice.test", "localhost"]),
        ("192.0.2.7", ["192.0.2.7"]),
    ],
)
def test_whoever_trusts_the_authority_trusts_the_server(host: str, names: list[str]) -> None:
    with practice_certificate(host) as made:
        context = server_context(str(made.certificate), str(made.key), http2=True)
        trusting = ssl.create_default_context(cafile=str(made.ca_file))
        trusting.verify_flags |= ssl.VERIFY_X509_STRICT
        trusting.set_alpn_protocols(["h2"])
        with PracticeServer(ssl_context=context).run_in_thread() as server:
            for name in names:
                with (
                    socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock,
                    trusting.wrap_socket(sock, server_hostname=name) as tls,
                ):
                    assert tls.selected_alpn_protocol() == "h2"
            with (
                socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock,
                pytest.raises(ssl.SSLCertVerificationError),
            ):
                trusting.wrap_socket(sock, server_hostname="elsewhere.test")


def test_the_files_are_for_their_owner_and_are_removed() -> None:
    with practice_certificate() as made:
        folder = made.key.parent
        assert sorted(path.name for path in folder.iterdir()) == ["ca.pem", "certificate.pem", "key.pem"]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert not folder.exists()


def test_without_openssl_it_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError) as caught, practice_certificate():
        pass
    assert str(caught.value) == "--tls makes a certificate with the openssl program, which is not installed"
    assert caught.value.hint == (
        "install openssl, or give a certificate of your own with --tls-cert and --tls-key"
    )


def test_an_openssl_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, 1, b"", b"first\nunknown curve\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(ConfigurationError) as caught, practice_certificate():
        pass
    assert str(caught.value) == "openssl ecparam failed: unknown curve"


def test_an_openssl_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 30)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(ConfigurationError, match=r"^openssl does not work: "), practice_certificate():
        pass


def test_certificates_of_ones_own(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue_files()
    assert server_context(str(files.certificate), str(files.key)).minimum_version is ssl.TLSVersion.TLSv1_2
    for certificate, key in (
        (str(tmp_path / "missing"), None),
        (str(files.certificate), None),
        (str(files.certificate), str(authority.ca_file)),
    ):
        with pytest.raises(ConfigurationError) as caught:
            server_context(certificate, key)
        assert str(caught.value).startswith(f"--tls-cert {certificate}")
        assert "cannot be used: " in str(caught.value)
        assert caught.value.hint == "give PEM files: the certificate, and the key that belongs to it"


def test_an_encrypted_key_is_refused_with_a_hint(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue_files()
    encrypted = tmp_path / "encrypted.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", files.key, "-aes256", "-passout", "pass:secret", "-out", encrypted],
        check=True,
    )
    with pytest.raises(ConfigurationError) as caught:
        server_context(str(files.certificate), str(encrypted))
    assert str(caught.value) == "the key of --tls-cert is encrypted"
    assert "openssl pkey" in caught.value.hint
