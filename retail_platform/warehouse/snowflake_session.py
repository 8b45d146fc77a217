"""A session with Snowflake: the login, statements on one connection, and which of its errors are worth another time.

The libraries take seconds to import: they are, when a connection is opened.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from retail_platform.errors import RetailError
from retail_platform.settings import Settings
from retail_platform.warehouse import sql

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor
    from snowflake.connector.errors import Error

LOOK = "look at its query history"

#: Longest that a statement may take, a load's or dbt's.
STATEMENT_SECONDS = 1800

_LOGIN_SECONDS = 30
_NETWORK_SECONDS = 120
_WAIT_SECONDS = (2.0, 10.0, 30.0)
_MISSING_OBJECT = 2003
_HTTP_ERRORS = 290000

_CONNECTOR = "snowflake-connector-python, errorcode.py"
_SESSION = "snowflake-connector-python, network.py: codes that ask for a new login"
_HTTP = "HTTP, as network.py of snowflake-connector-python and connections.py of dbt-snowflake retry them"

#: Errors that can pass by themselves, by Snowflake's number: what they are, and the source that says so.
#:
#: Not here, on purpose: 604 (somebody cancelled the statement), 630 (it ran into its time limit, and would again),
#: 603 (an internal error; the same statement mostly has it again), and whatever a login is refused for: the connector
#: itself repeats a login for half a minute where nobody answers, and more of them would lock the user out.
CAN_PASS: Mapping[int, str] = MappingProxyType(
    {
        625: "20 statements wait for a lock already; github.com/brooklyn-data/dbt_artifacts/issues/431",
        250002: f"the connection is closed; {_CONNECTOR}",
        250003: f"a request had no answer for as long as the connector asked; {_CONNECTOR}",
        252007: f"the session could not be renewed; {_CONNECTOR}",
        290408: f"request timeout; {_HTTP}",
        290429: f"too many requests; {_HTTP}",
        290500: f"internal server error; {_HTTP}",
        290502: f"bad gateway; {_HTTP}",
        290503: f"service unavailable; {_HTTP}",
        290504: f"gateway timeout; {_HTTP}",
        390111: "the session is gone; snowflake-jdbc, Constants.java",
        390112: f"the session expired; {_SESSION}",
        390113: f"the login's token is not found; {_SESSION}",
        390114: "the login's token expired, after hours; github.com/snowflakedb/gosnowflake/issues/160",
        390115: f"the login's token is not valid any more; {_SESSION}",
    }
)

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class _PassingError(RetailError):
    """An error of :data:`CAN_PASS`."""


@dataclass(frozen=True, slots=True)
class Session:
    """Statements on one connection; ``query_ids`` are those they had."""

    connection: SnowflakeConnection
    query_ids: list[str] = field(default_factory=list)

    def run(self, statement: str, parameters: Any = None, mend: str | None = None) -> SnowflakeCursor:
        """Run one statement; ``mend`` is what to do when it is refused.

        Raises:
            RetailError: Snowflake refuses it.
        """
        with _in_one_line(mend):
            cursor = self.connection.cursor()
            cursor.execute(statement, parameters)
        if cursor.sfqid:
            self.query_ids.append(cursor.sfqid)
        return cursor

    def rows(self, statement: str) -> list[Any]:
        """All the rows that a statement answers with."""
        cursor = self.run(statement)
        with _in_one_line():
            return list(cursor.fetchall())

    def number(self, statement: str) -> int:
        """The one number that a statement answers with."""
        return int(self.rows(statement)[0][0])

    def records(self, statement: str) -> list[dict[str, Any]]:
        """The same, each by the names of its columns: for what is not a query, whose rows do not come as Arrow."""
        cursor = self.run(statement)
        with _in_one_line():
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def merged(self, statement: str) -> tuple[int, int]:
        """The rows that a MERGE inserted and updated, as it says itself."""
        (said,) = self.records(statement)
        return int(said["number of rows inserted"]), int(said["number of rows updated"])

    def changed(self, statement: str) -> int:
        """How many rows a statement changed."""
        return int(self.run(statement).rowcount or 0)

    def table(self, statement: str) -> pa.Table:
        """The rows of a query; columns are named in lower case."""
        cursor = self.run(statement)
        with _in_one_line():
            parts = list(cursor.fetch_arrow_batches(force_microsecond_precision=True))
            if not parts:
                parts = [cursor.fetch_arrow_all(force_return_table=True)]
        # Snowflake sends each part's numbers as wide as that part needs.
        found = pa.concat_tables(parts, promote_options="permissive")
        return found.rename_columns([name.lower() for name in found.column_names])


def in_session(
    settings: Settings,
    work: Callable[[Session], _T],
    doing: str,
    dates: Sequence[dt.date] | None = None,
    **tags: str,
) -> _T:
    """Do ``work`` on a connection of its own, tagged with what it does; all of it again where an error can pass.

    Whatever ``work`` had not committed is rolled back before, and it has to come to the same when it is done twice.

    Raises:
        RetailError: nobody answers, the login is refused, or a statement is, for good or four times over.
    """
    tag = sql.query_tag(doing, dates, **tags)
    for wait in (*_WAIT_SECONDS, None):
        connection = _connect(settings, tag)
        try:
            return work(Session(connection))
        except _PassingError as error:
            if wait is None:
                raise
            _log.warning("%s; once more in %g s", error, wait)
        finally:
            connection.close()
        time.sleep(wait)
    raise AssertionError("the last time returns or raises")


def _connect(settings: Settings, tag: str) -> SnowflakeConnection:
    from dagster_snowflake import SnowflakeResource  # noqa: PLC0415  seconds, and 370 MB
    from snowflake.connector import errors  # noqa: PLC0415

    more: dict[str, Any] = {
        "port": settings.snowflake_port,
        "protocol": settings.snowflake_protocol,
        # Snowflake sends a NUMBER with decimals as a scaled integer, of which the connector would make a double.
        "arrow_number_to_decimal": True,
        "session_parameters": {
            "QUERY_TAG": tag,
            "TIMEZONE": "UTC",
            "STATEMENT_TIMEOUT_IN_SECONDS": STATEMENT_SECONDS,
        },
    }
    if settings.snowflake_host is not None:
        more["host"] = settings.snowflake_host
    file = settings.snowflake_private_key_path
    password, key, passphrase = (
        None if secret is None else secret.get_secret_value()
        for secret in (
            settings.snowflake_password,
            settings.snowflake_private_key,
            settings.snowflake_private_key_passphrase,
        )
    )
    if file is not None:
        _refuse_unusable_key(f"SNOWFLAKE_PRIVATE_KEY_PATH {file}", file, passphrase)
    elif key is not None:
        _refuse_unusable_key("SNOWFLAKE_PRIVATE_KEY", key, passphrase)
    resource = SnowflakeResource(
        account=settings.snowflake_account,
        user=settings.snowflake_user or "",
        password=password,
        private_key=key,
        private_key_path=str(file) if file else None,
        private_key_password=passphrase,
        database=settings.snowflake_database,
        schema=settings.snowflake_schema,
        warehouse=settings.snowflake_warehouse,
        role=settings.snowflake_role,
        login_timeout=_LOGIN_SECONDS,
        network_timeout=_NETWORK_SECONDS,
        autocommit=True,
        additional_snowflake_connection_args=more,
    )
    try:
        # Closed by whoever asked: the resource closes only what ended well.
        connection: SnowflakeConnection = resource.get_connection().__enter__()
    except (errors.Error, OSError, ValueError) as error:
        raise RetailError(
            f"Snowflake cannot be reached or refuses the login: {_one_line(error)}; check SNOWFLAKE_ACCOUNT, "
            "SNOWFLAKE_USER and SNOWFLAKE_PRIVATE_KEY_PATH, SNOWFLAKE_PRIVATE_KEY or SNOWFLAKE_PASSWORD"
        ) from None
    return connection


def _refuse_unusable_key(setting: str, key: Path | str, passphrase: str | None) -> None:
    """What the connector would say of a key in several ways, some of them a traceback."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  only a login needs it
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    def refuse(what: str) -> RetailError:
        return RetailError(f"{setting} {what}")

    try:
        pem = key.read_bytes() if isinstance(key, Path) else key.encode()
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}; give the PEM file of the user's private key") from None
    try:
        load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
    except TypeError:  # encrypted or not, and the passphrase the other way round
        if passphrase is None:
            raise refuse("is encrypted; set SNOWFLAKE_PRIVATE_KEY_PASSPHRASE") from None
        raise refuse("is not encrypted; unset SNOWFLAKE_PRIVATE_KEY_PASSPHRASE") from None
    except (ValueError, UnsupportedAlgorithm):
        if passphrase is not None and b"ENCRYPTED" in pem:
            raise refuse("cannot be decrypted; check SNOWFLAKE_PRIVATE_KEY_PASSPHRASE") from None
        raise refuse(
            "is not a private key in PEM form, as `openssl genrsa 2048 | openssl pkcs8 -topk8` makes it"
        ) from None


@contextlib.contextmanager
def _in_one_line(mend: str | None = None) -> Iterator[None]:
    """What Snowflake refuses within the block, as one line with the mend."""
    from snowflake.connector import errors  # noqa: PLC0415

    try:
        yield
    except errors.Error as error:
        if mend is None and error.errno == _MISSING_OBJECT:
            raise RetailError(
                f"the warehouse has not everything yet, or SNOWFLAKE_ROLE may not see it ({_one_line(error)}); "
                "load and build a day (`retail run`)"
            ) from None
        refused = _PassingError if _can_pass(error) else RetailError
        raise refused(f"Snowflake refused a statement: {_one_line(error)}; {mend or LOOK}") from None


def _can_pass(error: Error) -> bool:
    from snowflake.connector import errors  # noqa: PLC0415

    number = error.errno or 0
    if number > 2 * _HTTP_ERRORS:  # the connector adds it a second time to what it gives up asking for
        number -= _HTTP_ERRORS
    # A certificate that is refused has the number of a request without an answer.
    return number in CAN_PASS and not isinstance(error, errors.NonRetryableTlsError)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
