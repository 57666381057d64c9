"""Looks which events a system shows: in PostgreSQL, or in GraphQL."""

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import httpx
import psycopg

from functions.shared.postgres import Database, TimeLimits
from infra.operations.load.figures import Sent

_LIMITS = TimeLimits(statement=30, transaction=40)
_IDS_A_QUERY = 5000

_STORED = "SELECT id FROM ai_usage_events WHERE id = ANY(%s) AND timestamp >= %s"

_REJECTED = "SELECT event_id FROM rejected_events WHERE event_id = ANY(%s)"

_PAGE = """
    query ($start: Date!, $after: String) {
        aiInstanceUsageData {
            all(startDate: $start, first: 1000, after: $after) {
                nodes { id timestamp }
                pageInfo { hasNextPage endCursor }
            }
        }
    }
"""

_CLOCKS_DIFFER = timedelta(minutes=1)


class Found(NamedTuple):
    """Events that are shown, and those that the consumer rejected."""

    shown: set[UUID]
    rejected: set[UUID]


class Watch(Protocol):
    """Looks for events.

    Attributes:
        name: what the watch looks into.
    """

    name: str

    def look(self, pending: Mapping[UUID, Sent]) -> Found:
        """Returns what is found of these events; nothing while the store does not answer."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


class PostgresWatch:
    """Looks into the tables.

    Raises:
        psycopg.Error: the database can't be reached at the start.
    """

    name = "PostgreSQL"

    def __init__(self, url: str) -> None:
        self._since = datetime.now(UTC) - _CLOCKS_DIFFER
        self._database = Database(url, _LIMITS)
        self._database.run(lambda connection: connection.execute("SELECT"))

    def look(self, pending: Mapping[UUID, Sent]) -> Found:
        """Returns the events that are stored or rejected."""
        found = Found(set(), set())
        with suppress(psycopg.Error):  # an outage is part of what is measured
            for ids in batched(pending, _IDS_A_QUERY, strict=False):
                found.shown.update(self._ids(_STORED, list(ids), self._since))
                if missing := [one for one in ids if one not in found.shown]:
                    found.rejected.update(self._ids(_REJECTED, missing))
        return found

    def _ids(self, statement: str, *values: Any) -> set[UUID]:
        rows = self._database.run(lambda connection: connection.execute(statement.encode(), values).fetchall())
        return {identifier for (identifier,) in rows}

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()


class GraphqlWatch:
    """Pages through the newest events of the instance; the token must allow that."""

    name = "GraphQL"

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client, self._url = client, url

    def look(self, pending: Mapping[UUID, Sent]) -> Found:
        """Returns the events that are shown; what was rejected can't be seen here."""
        if not pending:
            return Found(set(), set())
        age = time.monotonic() - min(sent.moment for sent in pending.values())
        since = datetime.now(UTC) - timedelta(seconds=age) - _CLOCKS_DIFFER
        shown, after, more = set[UUID](), None, True
        while more and len(shown) < len(pending):
            page = self._page(since, after)
            if page is None:
                break
            nodes = page["nodes"]
            shown |= {UUID(node["id"]) for node in nodes} & pending.keys()
            after = page["pageInfo"]["endCursor"]
            is_recent = bool(nodes) and datetime.fromisoformat(nodes[-1]["timestamp"]) > since
            more = page["pageInfo"]["hasNextPage"] and is_recent
        return Found(shown, set())

    def _page(self, since: datetime, after: str | None) -> Any:
        variables = {"start": since.date().isoformat(), "after": after}
        try:
            answer = self._client.post(self._url, json={"query": _PAGE, "variables": variables}).json()
        except (httpx.HTTPError, ValueError):
            return None
        return ((answer.get("data") or {}).get("aiInstanceUsageData") or {}).get("all")

    def close(self) -> None:
        """The client belongs to the caller."""
