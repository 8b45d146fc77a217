"""The door of a broker on Amazon MSK, for tests only: TLS, and logins by IAM, whose signatures it checks.

What MSK has for a server is not public. This one speaks as much of Kafka's protocol as a client needs to log in and to ask
who the brokers are: ApiVersions, SaslHandshake, SaslAuthenticate, Metadata. It has no topics.
"""

from __future__ import annotations

import base64
import json
import socket
import socketserver
import ssl
import struct
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from retail_platform_tests.secured.authority import Authority

HERE = "127.0.0.1"
REGION = "eu-west-1"
KEY, SECRET = "AKIDOFATEST", "m4rk3r-aws-secret"

_METADATA, _HANDSHAKE, _API_VERSIONS, _AUTHENTICATE = 3, 17, 18, 36
_VERSIONS = {_METADATA: (0, 4), _HANDSHAKE: (0, 1), _API_VERSIONS: (0, 0), _AUTHENTICATE: (0, 1)}
_UNSUPPORTED_VERSION, _UNKNOWN_TOPIC, _UNSUPPORTED_MECHANISM, _REFUSED = 35, 3, 33, 58


@dataclass(frozen=True)
class Login:
    """A login that was tried: the mechanism, the client's name for itself, the signed query, and whether it was let in."""

    mechanism: str
    agent: str
    query: dict[str, str]
    let_in: bool


@dataclass
class MskServer:
    """The server that runs; ``logins`` are all that were tried, in their order."""

    port: int
    authority: Path
    logins: list[Login] = field(default_factory=list)


@contextmanager
def msk_server(folder: Path) -> Iterator[MskServer]:
    authority = Authority(folder, "amazon")
    identity = authority.sign("msk", HERE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                with context.wrap_socket(self.request, server_side=True) as secured:
                    _serve(secured, running)
            except (OSError, EOFError):
                return

    with socketserver.ThreadingTCPServer((HERE, 0), Connection) as server:
        server.daemon_threads = True
        running = MskServer(server.server_address[1], authority.certificate)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield running
        finally:
            server.shutdown()


def _serve(client: socket.socket, server: MskServer) -> None:
    mechanism, let_in = "", False
    while True:
        request = _Bytes(_read(client, struct.unpack(">i", _read(client, 4))[0]))
        api, version, correlation = request.take(">hhi")
        request.text()  # the client's id
        first, last = _VERSIONS.get(api, (0, -1))
        if api == _API_VERSIONS:
            known = [struct.pack(">hhh", key, *versions) for key, versions in _VERSIONS.items()]
            error = 0 if version <= last else _UNSUPPORTED_VERSION
            answer = struct.pack(">hi", error, len(known)) + b"".join(known)
        elif api == _HANDSHAKE:
            mechanism = request.text() or ""
            names = ("AWS_MSK_IAM", "OAUTHBEARER")
            error = 0 if mechanism in names else _UNSUPPORTED_MECHANISM
            answer = struct.pack(">hi", error, len(names)) + b"".join(map(_text, names))
        elif api == _AUTHENTICATE:
            login = _login(mechanism, request.take(f">{request.take('>i')[0]}s")[0])
            server.logins.append(login)
            let_in = login.let_in
            said = (
                json.dumps({"version": "2020_10_22", "request-id": "1"}).encode() if mechanism != "OAUTHBEARER" else b""
            )
            answer = (
                struct.pack(">h", 0) + _text(None) if let_in else struct.pack(">h", _REFUSED) + _text("Access denied")
            )
            answer += struct.pack(f">i{len(said)}s", len(said), said) + (struct.pack(">q", 0) if version else b"")
        elif let_in and first <= version <= last:
            answer = _metadata(version, request, server.port)
        else:
            raise EOFError
        client.sendall(struct.pack(">ii", 4 + len(answer), correlation) + answer)


def _login(mechanism: str, sent: bytes) -> Login:
    """Whether MSK would let this in: signed by the key, for its service, its region and its action."""
    if mechanism == "OAUTHBEARER":
        token = sent.split(b"auth=Bearer ")[1].split(b"\x01")[0]
        url = urllib.parse.urlsplit(base64.urlsafe_b64decode(token + b"=" * (-len(token) % 4)).decode())
        query = dict(urllib.parse.parse_qsl(url.query))
        host, wanted = url.netloc, (f"kafka.{REGION}.amazonaws.com",)
    else:
        said = json.loads(sent)
        query = {"-".join(map(str.capitalize, name.split("-"))): value for name, value in said.items()}
        query["X-Amz-SignedHeaders"] = query.pop("X-Amz-Signedheaders")
        host, wanted = query.pop("Host"), (HERE, "localhost")  # Java looks up the name that goes with the address
        assert query.pop("Version") == "2020_10_22"
    agent, signature = query.pop("User-Agent"), query.pop("X-Amz-Signature")
    scope = f"{KEY}/{query['X-Amz-Date'][:8]}/{REGION}/kafka-cluster/aws4_request"
    asked = (query["Action"], query["X-Amz-Credential"]) == ("kafka-cluster:Connect", scope)
    return Login(mechanism, agent, query, host in wanted and asked and signature == _signature(host, query))


def _signature(host: str, query: dict[str, str]) -> str:
    """What botocore signs this query with."""
    signer = SigV4QueryAuth(Credentials(KEY, SECRET), "kafka-cluster", REGION)
    encoded = urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
    request = AWSRequest(method="GET", url=f"https://{host}/?{encoded}")
    request.context["timestamp"] = query["X-Amz-Date"]
    return str(signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request))


def _metadata(version: int, request: _Bytes, port: int) -> bytes:
    count = request.take(">i")[0]
    topics = [request.text() for _ in range(count)] if count > 0 else []
    answer = struct.pack(">i", 0) if version > 2 else b""  # throttled for no time
    answer += struct.pack(">ii", 1, 1) + _text(HERE) + struct.pack(">i", port)
    answer += _text(None) if version > 0 else b""
    answer += _text("msk") if version > 1 else b""
    answer += struct.pack(">i", 1) if version > 0 else b""
    answer += struct.pack(">i", len(topics))
    for topic in topics:
        inside = struct.pack(">?", False) if version > 0 else b""
        answer += struct.pack(">h", _UNKNOWN_TOPIC) + _text(topic) + inside + struct.pack(">i", 0)
    return answer


class _Bytes:
    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def take(self, form: str) -> tuple:
        values = struct.unpack_from(form, self._content, self._place)
        self._place += struct.calcsize(form)
        return values

    def text(self) -> str | None:
        (length,) = self.take(">h")
        return None if length < 0 else self.take(f">{length}s")[0].decode()


def _text(value: str | None) -> bytes:
    if value is None:
        return struct.pack(">h", -1)
    return struct.pack(f">h{len(value)}s", len(value), value.encode())


def _read(client: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = client.recv(size - len(content))
        if not part:
            raise EOFError
        content += part
    return content
