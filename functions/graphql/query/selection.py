"""`Selection`: which events a query is about."""

from datetime import datetime

import msgspec

from functions.graphql.query.conditions import Condition
from functions.graphql.query.days import FIRST_DAY, midnight


class Selection(msgspec.Struct, frozen=True):
    """Which events a query is about. An event must match all attributes.

    Attributes:
        namespaces: traversal paths; matches events of these namespaces and all below. None matches all events, those
            without a namespace included.
        start: first moment.
        end: moment after the last one.
        event_ids: ids of event types.
        user_ids: None for all users.
        project_ids: None for all events, those without a project included.
        conditions: conditions on the payload.
    """

    namespaces: tuple[str, ...] | None
    start: datetime
    end: datetime
    event_ids: tuple[int, ...]
    user_ids: tuple[int, ...] | None = None
    project_ids: tuple[int, ...] | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def days(self) -> int:
        """Number of days between start and end; 0 for all days from the first on, which no reader counts."""
        return 0 if self.start == midnight(FIRST_DAY) else (self.end - self.start).days

    @property
    def selects_nothing(self) -> bool:
        """Whether no event can match."""
        return () in (self.namespaces, self.user_ids, self.project_ids, self.event_ids)
