"""Questions about users over time, which a store answers in one statement: `EventStore.people`."""

from enum import StrEnum

import msgspec

from functions.graphql.query.periods import Period
from functions.graphql.query.selection import Selection


class Earlier(StrEnum):
    """Which of a user's earlier periods a period is compared with."""

    PREVIOUS = "previous"  # the latest one before
    FIRST = "first"  # the first one of all


class Activity(msgspec.Struct, frozen=True):
    """How many users there are in each period, by how long before they were there.

    A row is the number of a period, a distance and a number of users. The distance is the number of periods since the
    user's earlier one: 0 if there is none, or if it is the first one itself.

    Attributes:
        selection: the events of use; from long before `since`, so that earlier periods are known.
        since: number of the first period to answer; of FIRST the first period that a user may begin in.
        farthest: answers a larger distance as this one.
    """

    selection: Selection
    period: Period
    since: int
    earlier: Earlier
    farthest: int

    @property
    def selects_nothing(self) -> bool:
        """Whether the answer has no rows."""
        return self.selection.selects_nothing


type Question = Activity
"""What `EventStore.people` answers."""
