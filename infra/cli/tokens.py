"""`usage-events token`: creates and revokes tokens for the HTTPS routes."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from functions.shared import settings
from infra import stack_file
from infra.cli.environment import use_local_stack
from infra.cli.terminal import console, duration, errors_reported, format_moment, past_moment, printable

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

app = typer.Typer(help="Tokens for the HTTPS routes.", no_args_is_help=True)

_LONGEST_FOR_GATEWAY = 9_728
"""Characters of a token for which API Gateway has room: 10,240 bytes of headers, less 512 for the other headers."""

Jtis = Annotated[list[str] | None, typer.Option(help="Token id (claim jti); may be given several times.")]
Sub = Annotated[str | None, typer.Option(help="Id of the user whose tokens to revoke or restore.")]


@app.command("create")
def create_token(
    sub: Annotated[str, typer.Option(help="The user's id.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="events:read, events:read:own, events:write, events:write:own, directory:write or canary; "
            "may be given several times."
        ),
    ],
    namespace: Annotated[
        list[str] | None, typer.Option(help="A traversal path like 27/28/, or * for all; may be given several times.")
    ] = None,
    expires: Annotated[str, typer.Option(help="Lifetime from now, like 30m, 12h or 7d.")] = "1d",
) -> None:
    """Print a token, signed with the configured secret or, in a checkout, with that of the running local stack."""
    from functions.shared import grant
    from infra.operations.token import sign

    if not sub:
        raise typer.BadParameter("the API refuses a token without a user", param_hint="--sub")
    for name in scope:
        if name not in grant.SCOPES:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(grant.SCOPES)}", param_hint="--scope")
    for path in namespace or ():
        if path != grant.EVERYTHING and not grant.is_traversal_path(path):
            raise typer.BadParameter(f"{path!r} is neither * nor like 27/28/", param_hint="--namespace")
    valid_for = duration(expires, "--expires")
    token = sign(_auth_secret(), sub, scope, namespace or (), valid_for)
    typer.echo(token)
    if len(token) > _LONGEST_FOR_GATEWAY:
        typer.echo(
            f"The token has {len(token):,} characters, but API Gateway takes 10,240 bytes of headers: name fewer or"
            " shorter namespaces, or their common root.",
            err=True,
        )


@app.command("revoke")
def revoke_token(
    *,
    token: Annotated[bool, typer.Option("--token", help="Revoke the token read from standard input.")] = False,
    jti: Jtis = None,
    sub: Sub = None,
    issuer: Annotated[str, typer.Option(help="Only tokens of this issuer (claim iss); default: any issuer.")] = "",
    before: Annotated[
        str,
        typer.Option(help="With --sub: revoke tokens issued before; an age like 1h, a date or a time; default: now."),
    ] = "",
    keep: Annotated[
        str,
        typer.Option(help="Remove the entry after this time, like 90d, when all affected tokens must have expired."),
    ] = "",
) -> None:
    """Revoke one token (--token or --jti), or all tokens of a user issued before a moment (--sub).

    The functions apply the revocation within a minute.
    """
    from functions.shared.revocations import Revocation
    from infra.operations.revoked_tokens import revoke

    if not (token or jti or sub):
        raise typer.BadParameter("give one of these options", param_hint="--token, --jti or --sub")
    if before and not sub:
        raise typer.BadParameter("goes with --sub: a token is revoked whenever it was issued", param_hint="--before")
    now = datetime.now(UTC)
    until = int((now + duration(keep, "--keep")).timestamp()) if keep else None
    revocations = [Revocation(jti=one, issuer=issuer, until=until) for one in jti or ()]
    if token:
        revocations.append(_revocation_of(sys.stdin.read().strip()))
    if sub:
        moment = past_moment(before, "--before") if before else now
        # Times in tokens have whole seconds: a token issued in the same second may precede the moment.
        revocations.append(Revocation(sub=sub, issuer=issuer, before=int(moment.timestamp()) + 1, until=until))
    with _list() as (manager, secret_arn):
        revoke(manager, secret_arn, *revocations)
    typer.echo(f"{len(revocations)} added to the list of revoked tokens.")


@app.command("list")
def list_revoked() -> None:
    """List the revoked tokens and users."""
    from infra.operations.revoked_tokens import read

    with _list() as (manager, secret_arn):
        revoked = read(manager, secret_arn).revoked
    table = Table("jti", "sub", "issuer", "issued before", "kept until")
    for one in revoked:
        before = _format_seconds(one.before) if one.sub else ""
        until = "" if one.until is None else _format_seconds(one.until)
        table.add_row(printable(one.jti), printable(one.sub), printable(one.issuer), before, until)
    console().print(table)


@app.command("forget")
def forget_revocation(*, jti: Jtis = None, sub: Sub = None) -> None:
    """Remove a token or a user from the list; tokens that have not expired are valid again."""
    from infra.operations.revoked_tokens import forget

    if not (jti or sub):
        raise typer.BadParameter("give one of these options", param_hint="--jti or --sub")
    with _list() as (manager, secret_arn):
        forgotten = sum(forget(manager, secret_arn, jti=one) for one in jti or ())
        forgotten += forget(manager, secret_arn, sub=sub) if sub else 0
    typer.echo(f"{forgotten} removed from the list of revoked tokens.")


def _revocation_of(token: str) -> Any:
    """Returns the revocation of a token without verifying the token: the caller may revoke any token."""
    import jwt

    from functions.shared.revocations import Revocation

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        jti, until, issuer = claims["jti"], int(claims["exp"]) + 1, claims.get("iss", "")
    except (jwt.PyJWTError, KeyError, ValueError, TypeError, OverflowError):
        raise typer.BadParameter(
            "standard input holds no token with a jti: revoke the user's tokens with --sub", param_hint="--token"
        ) from None
    return Revocation(jti=jti, issuer=issuer, until=until)


@contextmanager
def _list() -> Iterator[tuple["SecretsManagerClient", str]]:
    """Yields a client and the ARN of the list of revoked tokens; reports errors."""
    import boto3

    from infra.operations.revoked_tokens import RevocationError

    use_local_stack()
    secret_arn = settings.auth_revocations_arn()
    if secret_arn is None:
        typer.echo("No token can be revoked: AUTH_REVOCATIONS_ARN is not set.", err=True)
        raise typer.Exit(1)
    with errors_reported():
        try:
            yield boto3.client("secretsmanager"), secret_arn
        except RevocationError as error:
            typer.echo(error, err=True)
            raise typer.Exit(1) from None


def _format_seconds(seconds: int) -> str:
    return format_moment(datetime.fromtimestamp(seconds, UTC))


def _auth_secret() -> str:
    with errors_reported():
        secret = settings.auth_secret()
    if secret is not None:
        return secret
    file = stack_file.find()
    if file is not None:
        return str(json.loads(file.read_text())["auth_secret"])
    typer.echo(
        "No secret to sign with: set AUTH_SECRET or AUTH_SECRET_ARN, or start the local stack (make start).", err=True
    )
    raise typer.Exit(1)
