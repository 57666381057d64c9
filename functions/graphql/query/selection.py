"""Which events are asked for."""

from datetime import datetime

import msgspec

from functions.graphql.query.conditions import Condition


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


def namespace_upper_bound(path: str) -> str:
    """What comes right after all paths that begin with `path`, in the order of their bytes: "/" is before "0"."""
    return path[:-1] + chr(ord("/") + 1)
