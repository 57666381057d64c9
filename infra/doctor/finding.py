"""What a check found: whether all is well, what to do otherwise, and the page that says more."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check ended. A warning is for what may be meant so, or can't be known from here."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Page(StrEnum):
    """Pages of the documentation, as paths from the root of this repository."""

    SETTINGS = "docs/reference/settings.md"
    SECRETS = "docs/howto/deploy.md#what-the-secret-of-the-database-holds"
    TLS = "docs/howto/deploy.md#whom-connections-trust"
    NETWORK = "docs/howto/deploy.md#what-must-be-reachable-from-where"
    NEEDS = "docs/howto/deploy.md#what-you-need"
    CLICKHOUSE = "docs/howto/deploy.md#enable-clickhouse"
    ROLES = "docs/howto/isolate-load.md#give-each-function-its-own-role-in-postgresql"
    EXECUTIONS = "docs/howto/isolate-load.md#keep-executions-for-each-function"
    RESTORE = "docs/howto/restore.md#postgresql-is-lost"
    RELEASE = "docs/howto/release.md"
    TOKENS = "docs/howto/tokens.md"
    TOKEN_OF_CANARY = "docs/howto/tokens.md#give-the-canary-a-token"  # noqa: S105 - a page
    CANARY = "docs/howto/runbook.md#canaryalarm"
    DEAD_LETTERS = "docs/howto/dead-letters.md"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: what was checked, like `PostgreSQL, writer: privileges`.
        found: what is so.
        remedy: what to do; empty if the outcome is ok.
        page: page that says more; None if the outcome is ok.
    """

    check: str
    outcome: Outcome
    found: str
    remedy: str = ""
    page: Page | None = None


def ok(check: str, found: str) -> Finding:
    """Returns the finding that all is well."""
    return Finding(check, Outcome.OK, found)


def warning(check: str, found: str, remedy: str, page: Page) -> Finding:
    """Returns a finding that somebody should look at."""
    return Finding(check, Outcome.WARNING, found, remedy, page)


def failed(check: str, found: str, remedy: str, page: Page) -> Finding:
    """Returns a finding that stops the system, or a part of it, from working."""
    return Finding(check, Outcome.FAILED, found, remedy, page)


def listed(names: list[str], most: int = 6) -> str:
    """Returns the first names, and the number of the others."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
