"""What the commands of `usage-events` share: how they read options, print, and tell what went wrong."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import typer
from rich.console import Console

PIPED_WIDTH = 160
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def console() -> Console:
    """Where tables are printed; texts as they are, for they may be a producer's."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False, emoji=False)


def format_moment(moment: datetime) -> str:
    """A moment, which is in UTC, as it is printed."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def printable(text: str) -> str:
    """`text` in one line, with a mark in the place of what a terminal might take for an order."""
    return _without_control_characters(" ".join(text.split()))


def printable_lines(text: str) -> list[str]:
    """As `printable`, for a text whose lines and indentation stay."""
    return [_without_control_characters(line) for line in text.expandtabs().splitlines()]


def _without_control_characters(line: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def duration(text: str, option: str) -> timedelta:
    """What 30m, 12h or 7d means.

    Raises:
        typer.BadParameter: it is none of these; the message names the option.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not like 30m, 12h or 7d", param_hint=option)
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def past_moment(text: str, option: str) -> datetime:
    """The moment that is so long ago (`30m`, `12h`, `7d`), or that a time (RFC 3339, a date) names.

    Raises:
        typer.BadParameter: it is neither, or before the year 1; the message names the option.
    """
    from functions.shared.timestamp import parse_timestamp

    try:
        return parse_timestamp(text)
    except ValueError:
        ago = duration(text, option)
    try:
        return datetime.now(UTC) - ago
    except OverflowError as error:
        raise typer.BadParameter(f"{text!r} is too long ago", param_hint=option) from error


@contextmanager
def errors_reported() -> Iterator[None]:
    """Tells a person what went wrong, instead of a trace."""
    import psycopg
    from botocore.exceptions import BotoCoreError, ClientError
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from functions.retention.retention import RetentionError
    from functions.shared.settings import SettingError
    from functions.sync.sync import SyncError
    from infra.operations.dead_letters import NoDeadLetterQueue

    try:
        yield
    except (
        SettingError,
        SyncError,
        RetentionError,
        NoDeadLetterQueue,
        ClickHouseError,
        BotoCoreError,
        ClientError,
        psycopg.Error,
    ) as error:
        typer.echo(_reason(error), err=True)
        raise typer.Exit(1) from None


def _reason(error: Exception) -> str:
    """Our own words of a store's error, which may quote what is stored; any other's words as they are, in one line."""
    import psycopg
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from functions.shared import clickhouse, postgres

    if isinstance(error, psycopg.Error):
        return postgres.reason_of(error)
    if isinstance(error, ClickHouseError):
        return clickhouse.reason_of(error)
    return " ".join(str(error).split())
