"""Reads options, prints output and reports errors for the commands of `usage-events`."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import typer
from rich.console import Console

PIPED_WIDTH = 160
NO_SYSTEM = (
    "No local stack runs in this checkout, and no setting names a database. Start the stack (make start), or set "
    "DATABASE_URL and what else docs/reference/settings.md names."
)
ASK_DOCTOR = "`usage-events doctor` says what is wrong with the system, and what to do about it."
NOT_MIGRATED = (
    "The tables are not those of this release. If this is the system's database, run `usage-events migrate`, or use "
    "the release that is deployed."
)
_FIRST_DAY = date(1970, 1, 1)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def console() -> Console:
    """Returns the console for tables; markup is off because texts may come from producers."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False, emoji=False)


def format_moment(moment: datetime) -> str:
    """Formats a moment, which must be in UTC, for printing."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def printable(text: str) -> str:
    """Returns `text` in one line, with control characters replaced, which a terminal might execute."""
    return _without_control_characters(" ".join(text.split()))


def printable_lines(text: str) -> list[str]:
    """Like `printable`, but keeps lines and indentation."""
    return [_without_control_characters(line) for line in text.expandtabs().splitlines()]


def _without_control_characters(line: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def duration(text: str, option: str) -> timedelta:
    """Parses a duration like 30m, 12h or 7d.

    Raises:
        typer.BadParameter: the text has another form; the message names the option.
    """
    if (parsed := _duration(text)) is None:
        raise typer.BadParameter(f"{text!r} is not like 30m, 12h or 7d", param_hint=option)
    return parsed


def _duration(text: str) -> timedelta | None:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    return None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})


def past_moment(text: str, option: str) -> datetime:
    """Parses a moment: an age like `30m`, `12h` or `7d`, a time (RFC 3339) or a date.

    Raises:
        typer.BadParameter: the text has another form or is before the year 1; the message names the option.
    """
    from functions.shared.timestamp import parse_timestamp

    try:
        return parse_timestamp(text)
    except ValueError:
        ago = _duration(text)
    if ago is None:
        message = f"{text!r} is neither a date or time like 2026-11-20, nor an age like 30m, 12h or 7d"
        raise typer.BadParameter(message, param_hint=option)
    try:
        return datetime.now(UTC) - ago
    except OverflowError as error:
        raise typer.BadParameter(f"{text!r} is too long ago", param_hint=option) from error


def past_day(text: str, option: str) -> date:
    """Parses a day in UTC that is over.

    Raises:
        typer.BadParameter: the text has another form, or the day is not over; the message names the option.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day like 2026-11-20", param_hint=option) from None
    if day < _FIRST_DAY:
        raise typer.BadParameter(f"{day} is before {_FIRST_DAY}, the first day of events", param_hint=option)
    if day >= (today := datetime.now(UTC).date()):
        raise typer.BadParameter(f"{day} is not over: name a day before {today}, in UTC", param_hint=option)
    return day


@contextmanager
def errors_reported() -> Iterator[None]:
    """Reports errors as one line on stderr, with exit code 1, instead of a stack trace.

    A second line says what to do, unless the first one does.
    """
    import psycopg
    from botocore.exceptions import BotoCoreError, ClientError
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from functions.retention.retention import RetentionError
    from functions.shared.settings import SettingError
    from functions.sync.error import SyncError
    from infra.operations.dead_letters import NoDeadLetterQueue
    from infra.operations.erasure.erase import ErasureError
    from infra.operations.erasure.moves import MovesRemain
    from infra.operations.export.error import ExportError
    from infra.operations.moves import MoveRefused
    from infra.operations.refill.error import RefillError
    from infra.operations.reprocess.saved import SavedError
    from infra.operations.reprocess.transaction import ReprocessError

    try:
        yield
    except (
        SettingError,
        SyncError,
        RetentionError,
        ErasureError,
        MovesRemain,
        ExportError,
        NoDeadLetterQueue,
        MoveRefused,
        ReprocessError,
        SavedError,
        RefillError,
        ClickHouseError,
        BotoCoreError,
        ClientError,
        psycopg.Error,
    ) as error:
        typer.echo(_reason(error), err=True)
        if advice := _advice(error):
            typer.echo(advice, err=True)
        raise typer.Exit(1) from None


def _advice(error: Exception) -> str:
    """Returns what to do about an error; empty if its own message says that."""
    import psycopg
    from botocore.exceptions import BotoCoreError, ClientError
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from psycopg.errors import UndefinedColumn, UndefinedFunction, UndefinedTable

    from infra.cli.environment import names_system

    if not names_system():
        return NO_SYSTEM
    if isinstance(error, UndefinedTable | UndefinedColumn | UndefinedFunction):
        return NOT_MIGRATED
    of_store = psycopg.Error | ClickHouseError | BotoCoreError | ClientError
    return ASK_DOCTOR if isinstance(error, of_store) or isinstance(error.__cause__, of_store) else ""


def _reason(error: Exception) -> str:
    """Returns the error's message in one line; errors of a store are described without quoting rows."""
    import psycopg
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from functions.shared import clickhouse, postgres

    if isinstance(error, psycopg.Error):
        return postgres.reason_of(error)
    if isinstance(error, ClickHouseError):
        return clickhouse.reason_of(error)
    return " ".join(str(error).split())
