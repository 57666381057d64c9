"""`usage-events doctor`: says what is wrong with a system, and what to do about it."""

import json
import os
from collections import Counter

import typer

from infra import stack_file
from infra.cli.environment import use_local_stack
from infra.cli.terminal import printable

_COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "failed": typer.colors.RED}


def doctor() -> None:
    """Check settings, secrets, network, TLS, versions, migrations, privileges, quotas and the canary of a system.

    A line for each check says ok, warning or failed; below it are what to do and where to read more. Exits with code 1
    if a check failed. Nothing is changed.
    """
    from infra.doctor import Outcome, examine

    use_local_stack()
    _use_local_signing_secret()
    counts = Counter[Outcome]()
    for finding in examine(dict(os.environ)):
        counts[finding.outcome] += 1
        outcome = typer.style(f"{finding.outcome:<8}", fg=_COLOURS[finding.outcome])
        typer.echo(f"{outcome}{finding.check}: {printable(finding.found)}")
        if finding.page is not None:
            typer.echo(f"        {finding.remedy}\n        See {finding.page}.")
    typer.echo(f"\n{', '.join(f'{counts[outcome]} {outcome}' for outcome in Outcome)}")
    if counts[Outcome.FAILED]:
        raise typer.Exit(1)


def _use_local_signing_secret() -> None:
    """Points the unset settings of tokens to the secret of the running local stack, if that is the system."""
    file = stack_file.find()
    if file is None or any(os.environ.get(name) for name in ("AUTH_SECRET", "AUTH_SECRET_ARN", "AUTH_JWKS_URL")):
        return
    stack = json.loads(file.read_text())
    if os.environ.get("DATABASE_URL") == stack["database_url"]:
        os.environ["AUTH_SECRET"] = stack["auth_secret"]
