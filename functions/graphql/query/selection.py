"""Which events are asked for."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from functions.graphql.query.conditions import Condition, conditions
from functions.graphql.types import arguments
from functions.shared.catalog.registry import Registry


class Selection(msgspec.Struct, frozen=True):
    """Which events are asked for.

    Attributes:
        namespaces: traversal paths; events of these and of all below them. None for all, those without one included.
        start: the first moment.
        end: the moment after the last.
        event_ids: ids of event types.
        user_ids: None for all users.
        conditions: what the payload must fulfil, all of it.
    """

    namespaces: tuple[str, ...] | None
    start: datetime
    end: datetime
    event_ids: tuple[int, ...]
    user_ids: tuple[int, ...] | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def selects_nothing(self) -> bool:
        """Whether no event can be among those asked for."""
        return self.namespaces == () or self.user_ids == () or not self.event_ids


def end_of_namespace(path: str) -> str:
    """What comes right after all paths that begin with `path`, in the order of their bytes: "/" is before "0"."""
    return path[:-1] + chr(ord("/") + 1)


def select(
    namespaces: tuple[str, ...] | None, registry: Registry, today: date, filters: Mapping[str, Any]
) -> Selection:
    """What the filters of a field select within the namespaces.

    Args:
        filters: the arguments `start_date`, `end_date`, `events` (ids), `features` (names), `user_ids` and `payload`,
            each of which may be missing or None; others are ignored.

    Raises:
        InvalidArgument: one is not usable.
    """
    start, end = arguments.period(filters.get("start_date"), filters.get("end_date"), today)
    return Selection(
        namespaces=namespaces,
        start=start,
        end=end,
        event_ids=_event_ids(registry, filters.get("events"), filters.get("features")),
        user_ids=arguments.users(filters.get("user_ids")),
        conditions=conditions(filters.get("payload") or ()),
    )


def _event_ids(registry: Registry, events: Sequence[int] | None, features: Sequence[str] | None) -> tuple[int, ...]:
    """The ids asked for; those of stored events that no definition names are never among them."""
    return tuple(
        event.id
        for event in registry.by_id.values()
        if (events is None or event.id in events) and (features is None or event.feature.name in features)
    )
