"""Checks the canary: whether its token is one that the API takes, and whether its events come."""

from collections.abc import Iterator
from contextlib import closing
from time import time

import psycopg

from functions.canary.https import Unanswered
from functions.canary.token import token_source
from functions.shared import canary, settings
from functions.shared.auth import Authenticator, KeysUnavailable, RevocationsUnavailable, Unauthenticated
from functions.shared.json_web_token import jwt
from functions.shared.postgres import TimeLimits, connect
from functions.shared.setting_error import SettingError
from functions.shared.settings import CanaryTokens
from infra.doctor.finding import Finding, Page, failed, ok, warning
from infra.doctor.system import System

SOON_DAYS = 14
"""A token that expires within this time should be replaced now."""

LATE_SECONDS = 900
"""Three canaries should have come within this time."""

_LIMITS = TimeLimits(statement=10, transaction=10)

_REPLACE = (
    "Put a new one into the secret: `usage-events token create --sub canary --scope canary --expires 90d` makes it."
)

# Reads the partitions of this day alone, by the index of users.
_NEWEST = """
    SELECT extract(epoch FROM now() - max(timestamp))::bigint
    FROM ai_usage_events
    WHERE user_id = %s AND event = %s AND timestamp > now() - interval '1 day'
"""


def check_canary(system: System) -> Iterator[Finding]:
    """Checks the token as the API does, and looks for the newest canary in PostgreSQL."""
    yield from _check_token()
    if system.owner is not None:
        yield from _check_events(system.owner)


def _check_token() -> Iterator[Finding]:
    check = "Canary: token"
    try:
        tokens = settings.canary_tokens()
    except SettingError as error:
        yield failed(check, str(error), "Correct the setting, or the secret that it names.", Page.TOKEN_OF_CANARY)
        return
    if tokens is None:
        remedy = "Set CANARY_TOKEN_SECRET_ARN as the canary function has it. With an issuer's keys, it needs a token."
        yield warning(check, "off: no setting names a token, or a secret that signs one", remedy, Page.TOKEN_OF_CANARY)
        return
    try:
        authenticator = Authenticator(settings.auth())
    except SettingError:
        return  # the check of the settings says why
    yield _check_against(authenticator, tokens)


def _check_against(authenticator: Authenticator, tokens: CanaryTokens) -> Finding:
    check = "Canary: token"
    try:
        token = token_source(tokens)()
        grant = authenticator.grant({"Authorization": f"Bearer {token}"})
    except Unanswered as error:
        remedy = "Correct what the secret holds, or ask who runs the issuer."
        return failed(check, f"can't be fetched from the issuer: {error}", remedy, Page.TOKEN_OF_CANARY)
    except Unauthenticated as error:
        return failed(check, f"the API refuses it: {error}", _REPLACE, Page.TOKEN_OF_CANARY)
    except (KeysUnavailable, RevocationsUnavailable) as error:
        remedy = "Mend what the checks of network and AWS name, and check again."
        return warning(check, f"can't be verified: {error}", remedy, Page.TOKEN_OF_CANARY)
    if not grant.is_canary:
        return failed(
            check, f"has the scopes {' '.join(grant.scopes)!r}, not canary alone", _REPLACE, Page.TOKEN_OF_CANARY
        )
    if tokens.token is None:
        return ok(check, "signed for each request")
    if tokens.token.current().startswith("{"):
        return ok(check, "fetched from the issuer for each canary")
    days = (jwt.decode(token, options={"verify_signature": False})["exp"] - time()) / (24 * 60 * 60)
    if days < SOON_DAYS:
        return warning(check, f"expires in {days:.0f} days", _REPLACE, Page.TOKEN_OF_CANARY)
    return ok(check, f"valid for another {days:.0f} days")


def _check_events(owner: str) -> Iterator[Finding]:
    check = "Canary: events"
    try:
        with closing(connect(owner, _LIMITS)) as connection:
            rows = connection.execute(_NEWEST, [canary.USER_ID, canary.EVENT_ID]).fetchall()
    except psycopg.Error:
        return  # the checks of PostgreSQL say why
    ((seconds,),) = rows
    remedy = (
        "Nothing if Canary=off, as on a local stack. Otherwise the log of the canary function says what became of each."
    )
    if seconds is None:
        yield warning(check, "none in PostgreSQL for a day, or off", remedy, Page.CANARY)
    elif seconds > LATE_SECONDS:
        yield warning(check, f"none in PostgreSQL for {seconds // 60} minutes", remedy, Page.CANARY)
    else:
        yield ok(check, f"the newest is {max(0, seconds)} s old")
