"""Questions about users over time, which a store answers in one statement: `EventStore.people`."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from functions.graphql.query.path import Path
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


class Tiers(msgspec.Struct, frozen=True):
    """How many users have how many events. A row is a number of thresholds, and the users that reach just these.

    Attributes:
        thresholds: numbers of events, ascending.
    """

    selection: Selection
    thresholds: tuple[int, ...]

    @property
    def selects_nothing(self) -> bool:
        """Whether the answer has no rows."""
        return self.selection.selects_nothing


class Seats(msgspec.Struct, frozen=True):
    """Events that assign and remove seats. A seat is a user's, of one product, in one namespace.

    Attributes:
        selection: the events, from the first that is kept on.
        assigned_ids: ids of the event types that assign a seat.
        product: payload path of the product.
    """

    selection: Selection
    assigned_ids: tuple[int, ...]
    product: Path


class SeatChanges(msgspec.Struct, frozen=True):
    """How many users get their first seat on a day, less those that lose their last one. A row is a day and a number.

    Attributes:
        since: number of a day; what changed before counts as a change of this day.
    """

    seats: Seats
    since: int

    @property
    def selection(self) -> Selection:
        """The events that are read."""
        return self.seats.selection

    @property
    def selects_nothing(self) -> bool:
        """Whether the answer has no rows."""
        return self.seats.selection.selects_nothing


class Adoption(msgspec.Struct, frozen=True):
    """How many users that have a seat after the last of its events used what.

    A row is the name of a feature and a number of users. The name is empty for any feature, and `ALL_SEATS` for all
    users that have a seat.

    Attributes:
        selection: the events of use.
        feature_of: each event id's feature name.
    """

    selection: Selection
    seats: Seats
    feature_of: Mapping[int, str]

    @property
    def selects_nothing(self) -> bool:
        """Whether the answer has no rows."""
        return self.seats.selection.selects_nothing


class IdleSeats(msgspec.Struct, frozen=True):
    """Which users have a seat after the last of its events and used nothing, by their ids.

    A row is a user's id and a day: that of the last event of the user's seat, of several seats the earliest one.

    Attributes:
        selection: the events of use.
        beyond: answers only the users after this one; before it if `backwards`.
        backwards: answers the last users instead of the first, in the opposite order.
        only_count: answers one row with the number of users.
    """

    selection: Selection
    seats: Seats
    limit: int = 0
    beyond: int | None = None
    backwards: bool = False
    only_count: bool = False

    @property
    def selects_nothing(self) -> bool:
        """Whether the answer has no rows."""
        return self.seats.selection.selects_nothing


ALL_SEATS = "*"
"""Stands for all users with a seat where an `Adoption` answers the name of a feature."""


class FirstUse(msgspec.Struct, frozen=True):
    """How long after its first seat each user used anything.

    The only row is a number of users, the median of the times in microseconds, and the 90th percentile. Users without
    use are left out. Without any user both times are None or NaN.

    Attributes:
        selection: the events of use.
        assigned: the events that assign seats.
    """

    selection: Selection
    assigned: Selection

    @property
    def selects_nothing(self) -> bool:
        """Whether no user can have both."""
        return self.selection.selects_nothing or self.assigned.selects_nothing


type Question = Activity | Tiers | SeatChanges | Adoption | IdleSeats | FirstUse
"""What `EventStore.people` answers."""
