"""`canaryEvent`: says which stores show a canary event."""

from datetime import timedelta
from typing import Literal
from uuid import UUID

import msgspec

from functions.graphql.context import Info
from functions.graphql.query.selection import Selection
from functions.graphql.query.store import ID, PageWindow, RequestedFields
from functions.shared import canary
from functions.shared.identifier import time_of

_AT_ONCE = 10
"""Canaries of one moment that are looked at. Each has a time of its own, in milliseconds."""


class CanaryEvent(msgspec.Struct, frozen=True):
    """A canary event that may be in a store."""

    id: UUID
    selection: Selection

    def postgresql(self, info: Info) -> bool:
        """Whether PostgreSQL shows the event."""
        return self._is_in("postgresql", info)

    def clickhouse(self, info: Info) -> bool | None:
        """Whether ClickHouse shows the event; None if it is off."""
        return self._is_in("clickhouse", info) if info.context.stores.has_clickhouse else None

    def _is_in(self, name: Literal["clickhouse", "postgresql"], info: Info) -> bool:
        context = info.context
        source = context.stores.of_canaries(name, context.grant, context.deadline)
        if source is None:
            return False
        rows = source.events.events(self.selection, PageWindow(_AT_ONCE), RequestedFields())
        return any(row[ID] == self.id for row in rows)


def resolve_canary_event(_: None, info: Info, id: str) -> CanaryEvent | None:  # noqa: A002 - the argument's name
    """Resolves `canaryEvent`; None for a token of others, and for what is no id of a canary: those hold their time."""
    grant = info.context.grant
    if not grant.is_canary and not (grant.may_read and grant.is_everywhere):
        return None
    try:
        identifier = UUID(id)
    except ValueError:
        return None
    moment = time_of(identifier)
    if moment is None:
        return None
    period = (moment, moment + timedelta(milliseconds=1))
    return CanaryEvent(identifier, Selection((canary.NAMESPACE_PATH,), *period, (canary.EVENT_ID,)))
