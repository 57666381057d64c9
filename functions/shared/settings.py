"""Reads and checks the settings in environment variables; each error names its setting."""

import os
import re
from collections.abc import Callable
from functools import partial

import msgspec

from functions.shared.cors import ANY_ORIGIN
from functions.shared.database_url import checked_url, url_of_secret, verified_url
from functions.shared.secret import Secret, UrlSource, current_url
from functions.shared.setting_error import SettingError
from functions.shared.signing_secrets import SecretSource, SigningSecrets, parse_secrets
from functions.shared.tenant_limits import Limits, TenantLimits, parse_own_limits

__all__ = ["AuthSettings", "SettingError"]

_ORIGIN = re.compile(r"https?://[^/?#@\s*\"\',]+", re.ASCII)
_BASE_URL = re.compile(r"https?://[^/?#@\s*\"\',]+(/[^?#\s\"\']*)?", re.ASCII)
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class AuthSettings(msgspec.Struct, frozen=True):
    """How tokens are verified: with a shared secret, or with the keys that an issuer publishes.

    Attributes:
        secret: the secrets that sign tokens, as a text or as the secret in Secrets Manager that holds them.
        previous_secret: also accepted, while the secret is being replaced.
        max_lifetime: longest lifetime of a token in seconds; None for no limit.
        client_id_as_audience: whether `client_id` is the audience of a token without `aud`, as Cognito's tokens need.
        revocations_arn: secret that lists the revoked tokens; None if tokens can't be revoked.
    """

    secret: SecretSource = None
    jwks_url: str | None = None
    issuer: str | None = None
    audience: str | None = None
    previous_secret: SecretSource = None
    max_lifetime: int | None = None
    client_id_as_audience: bool = False
    revocations_arn: str | None = None


class CanaryTokens(msgspec.Struct, frozen=True):
    """What the tokens of canaries are.

    Attributes:
        token: secret with a token, or with what fetches one; None if tokens are signed.
        signing: secrets that sign tokens.
        issuer: issuer that signed tokens name.
        audience: audience that signed tokens name.
        max_lifetime: longest lifetime in seconds that a token may have; None for no limit.
    """

    token: Secret[str] | None
    signing: SigningSecrets
    issuer: str | None = None
    audience: str | None = None
    max_lifetime: int | None = None


class CanarySettings(msgspec.Struct, frozen=True):
    """Where canary events are sent, and what their tokens are."""

    api_url: str
    tokens: CanaryTokens


def database_url() -> str:
    """Returns PostgreSQL's URL as it is now, for a command; functions that stay warm use `database_source`."""
    return current_url(database_source())


def database_source() -> UrlSource:
    """Returns PostgreSQL's URL: `DATABASE_URL`, or the secret that `DATABASE_SECRET_ARN` names.

    `DATABASE_SSLMODE` and `DATABASE_CA` say how connections verify the server. A secret without an address is completed
    by `DATABASE_HOST`, `DATABASE_PORT` and `DATABASE_NAME`.
    """
    mode, ca = _text("DATABASE_SSLMODE"), _text("DATABASE_CA")
    url = _text("DATABASE_URL")
    if url is not None:
        return verified_url(checked_url(url, "DATABASE_URL"), mode, ca)
    address = _text("DATABASE_HOST"), _text("DATABASE_PORT"), _text("DATABASE_NAME")
    secret = _secret("DATABASE_SECRET_ARN", lambda text: verified_url(url_of_secret(text, *address), mode, ca))
    if secret is None:
        raise SettingError("DATABASE_URL or DATABASE_SECRET_ARN must be set")
    return secret


def database_writer_url() -> str | None:
    """Returns the URL of the consumer's and the sync's role, for the deployment that makes the role: None for none.

    It is `DATABASE_WRITER_URL`, or the secret that `DATABASE_WRITER_SECRET_ARN` names.
    """
    return _role_url("DATABASE_WRITER_URL", "DATABASE_WRITER_SECRET_ARN")


def database_reader_url() -> str | None:
    """Returns the URL of GraphQL's role: `DATABASE_READER_URL` or `DATABASE_READER_SECRET_ARN`; None for none."""
    return _role_url("DATABASE_READER_URL", "DATABASE_READER_SECRET_ARN")


def database_writer_connections() -> int:
    """Returns how many connections the writer may have: `DATABASE_WRITER_CONNECTIONS`; -1, the default, for any."""
    return _connections("DATABASE_WRITER_CONNECTIONS")


def database_reader_connections() -> int:
    """Returns how many connections the reader may have: `DATABASE_READER_CONNECTIONS`; -1, the default, for any."""
    return _connections("DATABASE_READER_CONNECTIONS")


def _connections(name: str) -> int:
    text = _text(name) or "-1"
    if text != "-1" and not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise SettingError(f"{name} must be a number of connections, or -1 for no limit, not {text!r}")
    return int(text)


def _role_url(name: str, arn_name: str) -> str | None:
    url = _text(name)
    if url is not None:
        return checked_url(url, name)
    address = _text("DATABASE_HOST"), _text("DATABASE_PORT"), _text("DATABASE_NAME")
    secret = _secret(arn_name, lambda text: url_of_secret(text, *address))
    return None if secret is None else current_url(secret)


def clickhouse_url() -> str | None:
    """Returns ClickHouse's URL as it is now, for a command; None if disabled."""
    source = clickhouse_source()
    return None if source is None else current_url(source)


def clickhouse_source() -> UrlSource | None:
    """Returns ClickHouse's URL: `CLICKHOUSE_URL`, or the secret in `CLICKHOUSE_SECRET_ARN`; None if disabled."""
    url = _text("CLICKHOUSE_URL")
    return _secret("CLICKHOUSE_SECRET_ARN", _clickhouse_url) if url is None else _clickhouse_url(url)


def _clickhouse_url(url: str) -> str:
    if not url.startswith(("clickhouse://", "clickhouses://", "http://", "https://")):
        raise SettingError("CLICKHOUSE_URL must start with clickhouse:// or, for TLS, clickhouses://")
    return url


def clickhouse_cluster() -> str | None:
    """Returns the cluster for the replicated table: `CLICKHOUSE_CLUSTER`; None for a single server."""
    return _text("CLICKHOUSE_CLUSTER")


def clickhouse_durable_inserts() -> bool:
    """Whether inserts wait for a quorum or the disk: `CLICKHOUSE_DURABLE_INSERTS`, on by default."""
    return _switch("CLICKHOUSE_DURABLE_INSERTS")


def clickhouse_retention_months() -> int | None:
    """Returns the months that ClickHouse keeps events: `CLICKHOUSE_RETENTION_MONTHS`; None for ever."""
    name = "CLICKHOUSE_RETENTION_MONTHS"
    if _text(name) is None:
        return None
    months = _months(name, "", 1200)
    if months < retention_months():
        raise SettingError(f"{name} must not be below RETENTION_MONTHS, because GraphQL reads from ClickHouse")
    return months


def sync_follow_seconds() -> int:
    """Returns how long a sync that has caught up keeps polling: `SYNC_FOLLOW_SECONDS`, 0 by default."""
    text = _text("SYNC_FOLLOW_SECONDS") or "0"
    if not text.isdecimal():
        raise SettingError(f"SYNC_FOLLOW_SECONDS must be a number of seconds, not {text!r}")
    return int(text)


def queue_url() -> str:
    """Returns the URL of the queue for accepted events: `QUEUE_URL`."""
    url = _text("QUEUE_URL")
    if url is None:
        raise SettingError("QUEUE_URL must be set")
    return url


def auth() -> AuthSettings:
    """Returns the `AUTH_` settings.

    Either `AUTH_SECRET` (or `AUTH_SECRET_ARN`) is set, or `AUTH_JWKS_URL` with `AUTH_ISSUER` and `AUTH_AUDIENCE`.

    Raises:
        SettingError: settings are missing, malformed or contradictory.
    """
    has_secret = bool(_text("AUTH_SECRET") or _text("AUTH_SECRET_ARN"))
    if has_secret == bool(_text("AUTH_JWKS_URL")):
        raise SettingError("exactly one of AUTH_SECRET (or AUTH_SECRET_ARN) and AUTH_JWKS_URL must be set")
    settings = AuthSettings(
        secret=_signing_secret("AUTH_SECRET", "AUTH_SECRET_ARN"),
        jwks_url=_text("AUTH_JWKS_URL"),
        issuer=_text("AUTH_ISSUER"),
        audience=_text("AUTH_AUDIENCE"),
        previous_secret=_signing_secret("AUTH_SECRET_PREVIOUS", "AUTH_SECRET_PREVIOUS_ARN"),
        max_lifetime=_auth_max_lifetime(),
        client_id_as_audience=_switch("AUTH_CLIENT_ID_AS_AUDIENCE", "off"),
        revocations_arn=auth_revocations_arn(),
    )
    if settings.jwks_url:
        _require_issuer(settings)
    if settings.client_id_as_audience and not settings.audience:
        raise SettingError("AUTH_CLIENT_ID_AS_AUDIENCE requires AUTH_AUDIENCE, the expected client_id")
    return settings


def auth_secret() -> str | None:
    """Returns the secret that signs tokens: the newest of `AUTH_SECRET` or `AUTH_SECRET_ARN`; None if unset."""
    return next(iter(SigningSecrets(_signing_secret("AUTH_SECRET", "AUTH_SECRET_ARN")).current()), None)


def _signing_secret(name: str, arn_name: str) -> SecretSource:
    text = _text(name)
    return parse_secrets(text, name) if text is not None else _secret(arn_name, partial(parse_secrets, name=name))


def signing_secrets() -> SigningSecrets:
    """Returns the secrets that sign tokens, `AUTH_SECRET` or `AUTH_SECRET_ARN`, read again while they are used."""
    return SigningSecrets(_signing_secret("AUTH_SECRET", "AUTH_SECRET_ARN"))


def canary() -> CanarySettings:
    """Returns where canary events are sent and what with.

    `API_URL` is the address of the API. See `canary_tokens` for the others.

    Raises:
        SettingError: settings are missing or malformed.
    """
    url = _text("API_URL")
    if url is None or not _BASE_URL.fullmatch(url):
        raise SettingError(f"API_URL must be an address like https://events.example.com/live, not {url!r}")
    tokens = canary_tokens()
    if tokens is None:
        raise SettingError("CANARY_TOKEN_SECRET_ARN or AUTH_SECRET_ARN must be set")
    return CanarySettings(url.rstrip("/"), tokens)


def canary_tokens() -> CanaryTokens | None:
    """Returns where the canary gets its tokens; None if no setting says it.

    `CANARY_TOKEN_SECRET_ARN` names a secret that holds the token, or the credentials with which the canary fetches one
    from the issuer. Without this setting, the canary signs tokens with `AUTH_SECRET` or `AUTH_SECRET_ARN`.

    Raises:
        SettingError: a setting is malformed, or a secret can't be read.
    """
    tokens = CanaryTokens(
        token=_secret("CANARY_TOKEN_SECRET_ARN", str),
        signing=signing_secrets(),
        issuer=_text("AUTH_ISSUER"),
        audience=_text("AUTH_AUDIENCE"),
        max_lifetime=_auth_max_lifetime(),
    )
    return None if tokens.token is None and not tokens.signing.current() else tokens


def auth_revocations_arn() -> str | None:
    """Returns the ARN of the list of revoked tokens: `AUTH_REVOCATIONS_ARN`; None if tokens can't be revoked."""
    return _text("AUTH_REVOCATIONS_ARN")


def _require_issuer(settings: AuthSettings) -> None:
    if not (settings.issuer and settings.audience):
        raise SettingError(
            "AUTH_JWKS_URL requires AUTH_ISSUER and AUTH_AUDIENCE: the keys also sign tokens for other services"
        )
    if settings.previous_secret is not None:
        raise SettingError("AUTH_SECRET_PREVIOUS must not be set with AUTH_JWKS_URL: it only accompanies AUTH_SECRET")
    if not (settings.jwks_url or "").startswith(("https://", "http://")):
        raise SettingError("AUTH_JWKS_URL must start with https://")


def _auth_max_lifetime() -> int | None:
    name = "AUTH_MAX_LIFETIME"
    text = _text(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and int(text) > 0):
        raise SettingError(f"{name} must be a number of seconds, at least 1, not {text!r}")
    return int(text)


def retention_months() -> int:
    """Returns the months that PostgreSQL keeps events: `RETENTION_MONTHS`, 3 by default."""
    return _months("RETENTION_MONTHS", "3", 120)


def accept_unreadable() -> frozenset[str]:
    """Returns the changes of definitions that a deployment accepts although they hide stored rows: `ACCEPT_UNREADABLE`.

    The setting holds names of changes, separated by commas. A deployment that is refused says the names.
    """
    return frozenset(filter(None, (name.strip() for name in (_text("ACCEPT_UNREADABLE") or "").split(","))))


def tenant_limits() -> TenantLimits:
    """Returns how many events a tenant may send: `TENANT_EVENTS_PER_MINUTE` and `TENANT_EVENTS_PER_DAY`, 0 for any.

    `TENANT_LIMITS` has the limits of single tenants. The functions count in the DynamoDB table that
    `TENANT_COUNTERS_TABLE` names.

    Raises:
        SettingError: a setting is malformed, or there are limits but no table.
    """
    default = Limits(_events("TENANT_EVENTS_PER_MINUTE"), _events("TENANT_EVENTS_PER_DAY"))
    own = parse_own_limits(_text("TENANT_LIMITS") or "", "TENANT_LIMITS")
    limits = TenantLimits(default, own, _text("TENANT_COUNTERS_TABLE") or "")
    if limits and not limits.table:
        raise SettingError("TENANT_COUNTERS_TABLE must be set if there are limits of tenants")
    return limits


def graphql_introspection() -> bool:
    """Whether clients may query the GraphQL schema: `GRAPHQL_INTROSPECTION`, on by default."""
    return _switch("GRAPHQL_INTROSPECTION")


def cors_origins() -> frozenset[str]:
    """Returns the origins whose pages may call the API: `CORS_ORIGINS`, none by default."""
    origins = frozenset(filter(None, (part.strip() for part in (_text("CORS_ORIGINS") or "").split(","))))
    for origin in origins:
        if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(origin):
            raise SettingError(
                f"CORS_ORIGINS must be origins like https://dashboard.example.com with commas between them, or *, "
                f"not {origin!r}"
            )
    return origins


def web_base_url() -> str | None:
    """Returns what addresses of users' pages begin with: `WEB_BASE_URL`, without a slash at the end; None if unset."""
    url = _text("WEB_BASE_URL")
    if url is not None and not _BASE_URL.fullmatch(url):
        raise SettingError(f"WEB_BASE_URL must be an address like https://gitlab.example.com, not {url!r}")
    return url.rstrip("/") if url else None


def log_level() -> str:
    """Returns the lowest level that is logged: `LOG_LEVEL`, INFO by default."""
    level = (_text("LOG_LEVEL") or "INFO").upper()
    if level not in LOG_LEVELS:
        raise SettingError(f"LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}, not {level!r}")
    return level


def _events(name: str) -> int:
    text = _text(name) or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise SettingError(f"{name} must be a number of events, or 0 for no limit, not {text!r}")
    return int(text)


def _months(name: str, default: str, max_months: int) -> int:
    text = _text(name) or default
    if not text.isdecimal() or not 1 <= int(text) <= max_months:
        raise SettingError(f"{name} must be a number of months from 1 to {max_months}, not {text!r}")
    return int(text)


def _switch(name: str, default: str = "on") -> bool:
    switch = _text(name) or default
    if switch not in ("on", "off"):
        raise SettingError(f"{name} must be on or off, not {switch!r}")
    return switch == "on"


def _text(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _secret[Value](name: str, parse: Callable[[str], Value]) -> Secret[Value] | None:
    arn = _text(name)
    return None if arn is None else Secret(name, arn, parse)
