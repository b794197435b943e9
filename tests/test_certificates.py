from __future__ import annotations

import contextlib
import ssl

import pytest
from certificates import Authority


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Between two contexts in memory; raises what the client, else the server, finds wrong."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    for end in ends:
        end.do_handshake()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_authoritys_client_trusts_its_server(authority: Authority, name: str) -> None:
    handshake(authority.server_context(), authority.client_context(), name)


def test_nobody_else_does(authority: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        handshake(authority.server_context(), ssl.create_default_context(), "localhost")


def test_expired_and_wrong_names(authority: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="has expired"):
        handshake(authority.server_context(expired=True), authority.client_context(), "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(authority.server_context("example.org"), authority.client_context(), "localhost")


def test_client_certificates(authority: Authority) -> None:
    server, client = authority.server_context(asks_client=True), authority.client_context()
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(server, client, "localhost")
    files, others = authority.issue_files("client.example"), authority.issue_files("client.example")
    assert files != others
    client.load_cert_chain(files.certificate, files.key)
    handshake(server, client, "localhost")
