"""A Snowflake emulator on a loopback port: fakesnow (MIT, github.com/tekumara/fakesnow), for tests only.

fakesnow lets anybody in; here the login is checked, and every statement is kept to be looked at. What it does otherwise
than Snowflake, where the adapter or dbt meets it, is put right here:

- its MERGE is several statements over a second database, which DuckDB refuses within a transaction: here it is DuckDB's own;
- DuckDB keeps temporary tables in a catalog of their own, and dbt names its by database and schema: here they are plain;
- its DuckDB reads a stage's bucket by an extension that cannot be had offline: here it does by what DuckDB is given
  by the platform itself for a lake in a bucket;
- it does not know query tags and limits of time: here they are taken, and kept with the other statements;
- it does not know the functions that say which role and warehouse a session has: here they say what the login asked for;
- it cannot drop a database: here DuckDB lets go of it, which is in memory;
- its SUM, AVG and MEDIAN of exact numbers are floating point: here they stay as exact as DuckDB has them;
- it sends numbers as wide as DuckDB has them, decimals as such: here they are integers, scaled and as narrow as the rows
  of a part allow, and a result of several rows comes in two parts.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import fakesnow.server as emulator
import jwt
import pyarrow as pa
import snowflake.connector
import sqlglot
import uvicorn
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fakesnow import transforms
from fakesnow.arrow import to_ipc
from fakesnow.cursor import FakeSnowflakeCursor
from sqlglot import exp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from retail_platform.embedded.ports import free_port_pair
from retail_platform.lakehouse.location import file_system, let_read
from retail_platform.settings import Settings, load_settings

_DONE = sqlglot.parse_one("select 'Statement executed successfully.' as status", read="duckdb")
_explode = FakeSnowflakeCursor._transform_explode


def _as_snowflake(cursor: FakeSnowflakeCursor, statement: exp.Expression) -> list[exp.Expression]:
    if isinstance(statement, exp.Create) and statement.find(exp.Table).db:
        for temporary in list(statement.find_all(exp.TemporaryProperty)):
            temporary.pop()
    if isinstance(statement, exp.Drop) and statement.kind == "DATABASE":
        cursor._duck_conn.execute(f"detach {statement.find(exp.Table).name}")
        return [_DONE.copy()]
    if statement.sql().upper().startswith("ALTER SESSION SET"):
        return [_DONE.copy()]
    if not isinstance(statement, exp.Merge):
        return _explode(cursor, statement)
    native = cursor._transform(statement.copy(), None).sql(dialect="duckdb") + " returning merge_action"
    done = [action for (action,) in cursor._duck_conn.execute(native).fetchall()]
    words = (("INSERT", "inserted"), ("UPDATE", "updated"))
    counts = "select " + ", ".join(f'{done.count(action)} as "number of rows {word}"' for action, word in words)
    answer = sqlglot.parse_one(counts, read="duckdb")
    answer.set("merge_counts", True)
    return [answer]


FakeSnowflakeCursor._transform_explode = _as_snowflake
transforms.numeric_agg_implicit_cast = lambda expression: expression

_INTEGERS = {pa.int8(): 8, pa.int16(): 16, pa.int32(): 32, pa.int64(): 64}

USER, PASSWORD = "RETAIL_LOADER", "correct-horse-battery"


@dataclass
class Fault:
    """The emulator's answer to a statement with ``on`` in it, ``times`` over: Snowflake's error ``code``.

    ``503`` is the status of HTTP. With ``after`` the statement is done first, and what is lost is the answer.
    """

    on: str
    code: str = "000603"
    times: int = 1
    after: bool = False
    met: int = 0

    def meets(self, statement: str) -> bool:
        if self.on not in statement:
            return False
        self.met += 1
        return self.met <= self.times

    def answer(self) -> Response:
        if self.code == "503":
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
        return JSONResponse(_refusal(self.code, "the emulator was told to fail here"))


@dataclass
class SnowflakeServer:
    """The running emulator; ``bodies`` is all that was sent to it after the login.

    It lets ``USER`` in with ``PASSWORD``, or with a token that the private key of ``public_key`` signed.
    """

    port: int
    bodies: list[str] = field(default_factory=list)
    fault: Fault | None = None
    public_key: RSAPublicKey | None = None
    not_granted: tuple[str, ...] = ()
    parts: dict[str, bytes] = field(default_factory=dict)

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[Fault]:
        self.fault = fault
        try:
            yield fault
        finally:
            self.fault = None

    def run(self, settings: Settings, statement: str) -> None:
        """What an administrator does in the database of ``settings``."""
        login = {"user": USER, "password": PASSWORD, "account": "test", "database": settings.snowflake_database}
        with snowflake.connector.connect(**login, host="127.0.0.1", port=self.port, protocol="http") as connection:
            connection.cursor().execute(statement)

    def databases(self) -> set[str]:
        """All that are there."""
        return {
            name for (name,) in emulator.shared_fs.duck_conn.execute("select name from pragma_database_list").fetchall()
        }

    def put_stage_on(self, settings: Settings, name: str) -> None:
        """Make the external stage ``name`` on the lake of ``settings``, in their schema."""
        let_read(emulator.shared_fs.duck_conn, file_system(settings))
        schema = settings.snowflake_schema
        self.run(settings, f"create schema if not exists {schema}")
        url = f"s3://{settings.s3_bucket}/{settings.s3_prefix}/lake/"
        self.run(settings, f"create stage {schema}.{name} url = '{url}'")

    def settings(self, folder: Path) -> Settings:
        """A database of the test's own in the emulator, and state and results on disk."""
        return load_settings(
            env_file=None,
            retail_home=folder / "home",
            retail_outputs=folder / "outputs",
            warehouse="snowflake",
            snowflake_account="test",
            snowflake_user=USER,
            snowflake_password=PASSWORD,
            snowflake_database=f"T{uuid.uuid4().hex[:12].upper()}",
            snowflake_warehouse="LOADING",
            snowflake_role="LOADER",
            snowflake_host="127.0.0.1",
            snowflake_port=self.port,
            snowflake_protocol="http",
        )


@contextmanager
def snowflake_server() -> Iterator[SnowflakeServer]:
    server = SnowflakeServer(free_port_pair())
    parts = Route("/parts/{name}", lambda request: Response(server.parts.pop(request.path_params["name"])))
    app = Starlette(routes=[parts, *(_watched(route, server) for route in emulator.routes)])
    process = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=server.port, log_level="warning"))
    thread = threading.Thread(target=process.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not process.started:
        assert time.monotonic() < deadline, "the emulator does not start"
        time.sleep(0.05)
    try:
        yield server
    finally:
        process.should_exit = True
        thread.join(timeout=30)


def _watched(route: Route, server: SnowflakeServer) -> Route:
    if route.path == "/session/v1/login-request":

        async def login(request: Request) -> Response:
            data = await _body(request)
            refused = _refused(data["data"], server.public_key)
            if refused is not None:
                return JSONResponse(refused)
            answer = await emulator.login_request(request)
            session = emulator.sessions[json.loads(answer.body)["data"]["token"]]
            for name, asked in (("role", "roleName"), ("warehouse", "warehouse")):
                has = None if name in server.not_granted else request.query_params.get(asked)
                value = "null" if has is None else f"'{has}'"
                session._duck_conn.execute(f"create temp macro current_{name}() as {value}")
            return answer

        return Route(route.path, login, methods=["POST"])
    if route.path == "/queries/v1/query-request":

        async def query(request: Request) -> Response:
            text = json.dumps(await _body(request))
            server.bodies.append(text)
            fault = server.fault if server.fault is not None and server.fault.meets(text) else None
            if fault is not None and not fault.after:
                return fault.answer()
            answer = await emulator.query_request(request)
            if fault is not None:
                return fault.answer()
            if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:  # the connector would ask again for minutes
                return JSONResponse(_refusal("000603", json.loads(answer.body)["message"]))
            return JSONResponse(_in_parts(json.loads(answer.body), server))

        return Route(route.path, query, methods=["POST"])
    return route


def _in_parts(said: dict, server: SnowflakeServer) -> dict:
    """An answer with its rows as Snowflake sends them: some are in it, the others at an address of their own."""
    answer = said["data"] or {}
    if not answer.get("rowsetBase64"):
        return said
    table = pa.ipc.open_stream(base64.b64decode(answer["rowsetBase64"])).read_all()
    here, there = table.slice(0, 1), table.slice(1)
    answer["rowsetBase64"] = base64.b64encode(to_ipc(_narrow(here))).decode()
    if there.num_rows:
        name, part = uuid.uuid4().hex, to_ipc(_narrow(there)).to_pybytes()
        server.parts[name] = part
        url, size = f"http://127.0.0.1:{server.port}/parts/{name}", len(part)
        chunk = {"url": url, "rowCount": there.num_rows, "uncompressedSize": size, "compressedSize": size}
        answer["chunks"] = [chunk]
    return said


def _narrow(table: pa.Table) -> pa.Table:
    for place, column in enumerate(table.columns):
        described = table.schema.field(place)
        if pa.types.is_decimal(column.type):
            scaled = [None if n is None else int(n.scaleb(column.type.scale)) for n in column.to_pylist()]
        elif pa.types.is_integer(column.type) and described.metadata[b"logicalType"] == b"FIXED":
            scaled = column.to_pylist()
        else:
            continue
        most = max((n if n >= 0 else ~n for n in scaled if n is not None), default=0).bit_length()
        kind = next((t for t, bits in _INTEGERS.items() if most < bits), None)
        if kind is not None:
            table = table.set_column(place, described.with_type(kind), pa.array(scaled, kind))
    return table


def _refused(data: dict, public_key: RSAPublicKey | None) -> dict | None:
    """What a login is answered that is not let in, in Snowflake's words."""
    if data.get("AUTHENTICATOR") == "SNOWFLAKE_JWT":
        try:
            said = jwt.decode(data["TOKEN"], public_key, algorithms=["RS256"])
        except (jwt.PyJWTError, TypeError):
            return _refusal("390144", "JWT token is invalid.")
        der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        print_of_key = base64.b64encode(hashlib.sha256(der).digest()).decode()
        issuer = f"TEST.{USER}.SHA256:{print_of_key}"
        return None if said["iss"] == issuer else _refusal("390144", "JWT token is invalid.")
    if (data.get("LOGIN_NAME"), data.get("PASSWORD")) != (USER, PASSWORD):
        return _refusal("390100", "Incorrect username or password was specified.")
    return None


async def _body(request: Request) -> dict:
    body = await request.body()
    return json.loads(gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body)


def _refusal(code: str, message: str) -> dict:
    return {"data": {"errorCode": code, "sqlState": "XX000"}, "code": code, "message": message, "success": False}
