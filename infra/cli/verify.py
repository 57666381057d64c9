"""`usage-events verify`: compares both stores, and mends what differs."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from typing import Annotated

import typer

from functions.shared import clickhouse, settings
from functions.shared.postgres import TimeLimits, connect
from infra.cli.environment import use_local_stack
from infra.cli.terminal import errors_reported

_WAIT_SECONDS = 60
_RUN_SECONDS = 24 * 60 * 60


def verify(
    *,
    month: Annotated[
        list[str] | None, typer.Option("--month", metavar="YYYY-MM", help="Compare this month only; repeatable.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make ClickHouse as PostgreSQL is where they differ.")
    ] = False,
    keep_extra: Annotated[
        bool,
        typer.Option(
            "--keep-extra",
            help="With --repair: keep events that only ClickHouse has, as after a restore of PostgreSQL.",
        ),
    ] = False,
) -> None:
    """Compare ClickHouse with PostgreSQL, event by event; exit with code 1 if any differ."""
    if keep_extra and not repair:
        raise typer.BadParameter("goes with --repair: a comparison alone removes nothing", param_hint="--keep-extra")
    wanted = [_month(text) for text in month or []]
    use_local_stack()
    with errors_reported():
        differing = _compare(wanted, repair=repair, keep_extra=keep_extra)
        if repair and differing:
            from infra.cli.main import synchronise

            synchronise()
            differing = _compare(differing, repair=False)
        if differing:
            raise typer.Exit(1)


def _compare(wanted: Sequence[date], *, repair: bool, keep_extra: bool = False) -> list[date]:
    """Compares these months, or all of PostgreSQL's, prints what differs, and returns the months that do."""
    from functions.sync.moves import Mover
    from infra.operations.erasure.moves import finish_moves
    from infra.operations.verify import Verification

    url = settings.clickhouse_url()
    if url is None:
        raise settings.SettingError("ClickHouse is disabled: CLICKHOUSE_URL is not set")
    limits, options = TimeLimits(_RUN_SECONDS, _RUN_SECONDS), f"-c lock_timeout={_WAIT_SECONDS}s"
    with (
        connect(settings.database_url(), limits, options) as connection,
        closing(clickhouse.connect(url, _RUN_SECONDS)) as client,
    ):
        if repair:
            finish_moves(connection, Mover(settings.database_url()), _WAIT_SECONDS, _show_progress)
        months = settings.clickhouse_retention_months()
        verification = Verification(connection, client, months, datetime.now(UTC).date(), _show_progress, keep_extra)
        known = verification.months()
        for month in wanted:
            if month not in known:
                raise typer.BadParameter(f"PostgreSQL does not have {month:%Y-%m}", param_hint="--month")
        differing = []
        for month in wanted or known:
            difference = verification.compare(month, repair=repair)
            typer.echo("\n".join(difference.lines()))
            if difference.count:
                differing.append(month)
    return differing


def _month(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not like 2026-11", param_hint="--month") from None


def _show_progress(line: str) -> None:
    typer.echo(line, err=True)
