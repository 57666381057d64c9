"""Reads the settings and secrets that name a system; a wrong one is a finding, and the others are still read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from functions.shared import settings
from functions.shared.setting_error import SettingError
from infra.doctor.finding import Finding, Page, failed, ok, warning

_CORRECT = (
    "Correct the setting. If it names a secret, check that the secret exists, that this role may read it "
    "(secretsmanager:GetSecretValue, kms:Decrypt for a key of your own), and what it holds."
)


_OWN = ("DATABASE_", "AUTH_", "CANARY_", "CLICKHOUSE_")


@dataclass(slots=True)
class System:
    """Addresses of a system's parts; None for a part that is unset, off, or whose setting is wrong.

    Attributes:
        owner: address of PostgreSQL with the login of the owner, like `writer` and `reader`.
        is_on_aws: whether a setting names something in AWS, or in an emulator of it.
    """

    owner: str | None = None
    writer: str | None = None
    reader: str | None = None
    clickhouse: str | None = None
    queue: str | None = None
    jwks: str | None = None
    is_on_aws: bool = False
    findings: list[Finding] = field(default_factory=list)


def read_system(environment: dict[str, str]) -> System:
    """Reads the settings, and the secrets that they name.

    Args:
        environment: the variables, to see which are set at all.
    """
    system = System()
    system.owner = _read(system, "Settings: database", settings.database_url, Page.SECRETS)
    system.writer = _read(system, "Settings: writer", settings.database_writer_url, Page.ROLES)
    system.reader = _read(system, "Settings: reader", settings.database_reader_url, Page.ROLES)
    if system.owner is not None:
        system.writer = _verified_like(system.owner, system.writer)
        system.reader = _verified_like(system.owner, system.reader)
    system.clickhouse = _read(system, "Settings: ClickHouse", settings.clickhouse_url, Page.CLICKHOUSE)
    system.findings.extend(_signing(system, environment))
    if environment.get("QUEUE_URL"):
        system.queue = _read(system, "Settings: queue", settings.queue_url, Page.SETTINGS)
    else:
        system.findings.append(
            warning("Settings: queue", "not set", "Set QUEUE_URL, so that the queue can be checked.", Page.SETTINGS)
        )
    system.is_on_aws = bool(environment.get("QUEUE_URL")) or any(
        environment[name] for name in environment if name.endswith("_ARN") and name.startswith(_OWN)
    )
    return system


OF_DATABASE = ("Settings: database", "Settings: writer", "Settings: reader")
"""Checks of the settings that a deployment needs."""

_UNSET = {
    "Settings: writer": "All functions use the owner. Give the consumer and the sync a role of their own.",
    "Settings: reader": "All functions use the owner. Give GraphQL a role that can only read.",
}


def _read(system: System, check: str, read: Callable[[], str | None], page: Page) -> str | None:
    try:
        value = read()
    except SettingError as error:
        system.findings.append(failed(check, str(error), _CORRECT, page))
        return None
    if value is not None:
        system.findings.append(ok(check, "set, and read"))
    elif check in _UNSET:
        system.findings.append(warning(check, "not set", _UNSET[check], page))
    else:
        system.findings.append(ok(check, "off"))
    return value


def _verified_like(owner: str, url: str | None) -> str | None:
    """Returns the address of a role, with the verification of the owner's: the settings are for all roles."""
    if url is None:
        return None
    known, own = conninfo_to_dict(owner), conninfo_to_dict(url)
    added = {name: known[name] for name in ("sslmode", "sslrootcert") if name in known and name not in own}
    return make_conninfo(url, **added)


def _signing(system: System, environment: dict[str, str]) -> Iterator[Finding]:
    check = "Settings: tokens"
    if not any(environment.get(name) for name in environment if name.startswith("AUTH_") and "REVO" not in name):
        remedy = "Set AUTH_SECRET_ARN or AUTH_JWKS_URL as the functions have it, so that it can be checked."
        yield warning(check, "not set", remedy, Page.TOKENS)
        return
    try:
        auth = settings.auth()
    except SettingError as error:
        yield failed(check, str(error), _CORRECT, Page.TOKENS)
        return
    system.jwks = auth.jwks_url
    yield ok(check, "keys of an issuer" if auth.jwks_url else "a secret, long enough")
