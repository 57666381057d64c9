"""An endless stream of events that look like those of people at work now."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4

from functions.shared.catalog.registry import Registry
from infra.operations.demo_data import demo_events

_DAYS = 7


def traffic(registry: Registry, *, users: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yields events of the demonstration's people, each with a new id and the time at which it is taken.

    Raises:
        ValueError: the definitions have none of the demonstration's events.
    """
    for number in count():
        is_empty = True
        now = datetime.now(UTC)
        for event in demo_events(registry, now, days=_DAYS, users=users, seed=seed + number, retention_months=1):
            is_empty = False
            yield event | {"id": str(uuid4()), "timestamp": datetime.now(UTC).isoformat()}
        if is_empty:
            raise ValueError("the definitions have none of the events that the demonstration sends")
