"""What the login of the settings may do in the account, asked of Snowflake itself."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from retail_platform.settings import Settings
from retail_platform.warehouse import sql
from retail_platform.warehouse.snowflake_files import stage_path
from retail_platform.warehouse.snowflake_session import Session, in_session


@dataclass(frozen=True, slots=True)
class Access:
    """The role of a login, and what it has of what the settings name: ``None`` where it is not there or not granted.

    ``stage_url`` is where ``SNOWFLAKE_STAGE`` is; ``loaded`` says whether the ledger of loads exists.
    """

    role: str | None
    warehouse: str | None
    database: str | None
    stage_url: str | None
    loaded: bool


def access(settings: Settings) -> Access:
    """Log in, and look.

    Raises:
        RetailError: the login is refused, or nobody answers.
    """

    def look(session: Session) -> Access:
        role, warehouse, database = session.rows("select current_role(), current_warehouse(), current_database()")[0]
        url = _stage_url(settings, session) if database and settings.snowflake_stage else None
        ledger = f"table_schema = '{sql.RAW.upper()}' and table_name = '{sql.LOADS.name.upper()}'"
        tables = f"select count(*) from information_schema.tables where {ledger}"
        return Access(role, warehouse, database, url, bool(warehouse and database and session.number(tables)))

    return in_session(settings, look, "doctor")


def try_to_create(settings: Settings) -> None:
    """What each load begins with: ``SNOWFLAKE_SCHEMA``, which stays, and a temporary table in it.

    Raises:
        RetailError: it may not; the message names the grant.
    """
    mend = (
        f"`grant usage, create schema on database {settings.snowflake_database} to role {settings.snowflake_role}` "
        "(docs/operate/snowflake.md)"
    )
    schema = sql.identifier(settings.snowflake_schema, "snowflake")
    table = sql.identifier(f"doctor_{uuid.uuid4().hex}", "snowflake")

    def create(session: Session) -> None:
        session.run(f"create schema if not exists {schema}", mend=mend)
        session.run(f"create temporary table {schema}.{table} (n integer)", mend=mend)

    in_session(settings, create, "doctor")


def _stage_url(settings: Settings, session: Session) -> str | None:
    database, schema, name = (part.upper() for part in stage_path(settings))
    # LIKE takes "_" for any character.
    for found in session.records(f"show stages like '{name}' in database {database}"):
        if (found["schema_name"], found["name"]) == (schema, name):
            return str(found["url"])
    return None
