"""The fields about people: their schema text, and their resolvers by the ends of their names."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ariadne import SchemaBindable

from functions.graphql.types import active_users, idle_seats, lifecycle, seats, sessions, usage_tiers

PEOPLE_RESOLVERS: Mapping[str, Callable[..., Any]] = {
    "ActiveUsers": active_users.resolve_active_users,
    "UserLifecycle": lifecycle.resolve_lifecycle,
    "UserRetention": lifecycle.resolve_retention,
    "UsageTiers": usage_tiers.resolve_usage_tiers,
    "Seats": seats.resolve_seats,
    "Adoption": seats.resolve_adoption,
    "IdleSeats": idle_seats.resolve_idle_seats,
    "TimeToFirstUse": seats.resolve_time_to_first_use,
    "Sessions": sessions.resolve_sessions,
}
"""Resolvers of a field of `Namespace` like `aiActiveUsers`, and of its twin of `Query` like `aiInstanceActiveUsers`."""


def people_text() -> str:
    """The schema text of the fields and of their rows."""
    parts = (active_users, lifecycle, usage_tiers, seats, idle_seats, sessions)
    return "".join(part.TEXT for part in parts)


def people_bindables() -> Iterator[SchemaBindable]:
    """The values of the enums."""
    yield from lifecycle.lifecycle_bindables()
