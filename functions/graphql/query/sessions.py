"""`Sessions`: measures sessions in groups. A session is what several events make up: those with one value at a key."""

from collections.abc import Sequence
from itertools import batched
from typing import Any

import msgspec

from functions.graphql.query.aggregation import KEY_COLUMNS, Dimension, GroupPosition
from functions.graphql.query.path import Path
from functions.graphql.query.scalar import scalar_from_key
from functions.graphql.query.selection import Selection

MEASURES = 7
"""Number of columns after the keys of a row."""


_ROLES = ("begins", "ends", "completes", "abandons")


class SessionFeature(msgspec.Struct, frozen=True):
    """The sessions of one feature.

    Attributes:
        key: payload path of the value that the events of one session share.
        key_type: type of the values; events with another value are of no session.
        begins: ids of the event types that begin a session.
        ends: ids of those that end it.
        completes: ids of those that end it with success.
        abandons: ids of those that end it without.
    """

    name: str
    key: Path
    key_type: type[str | int]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    completes: tuple[int, ...]
    abandons: tuple[int, ...]


class Sessions(msgspec.Struct, frozen=True):
    """Which sessions to measure, by what groups.

    A session has the events of one feature, in one namespace, with one value at the feature's key. It is selected and
    grouped by the first event that begins it. An event ends a session if it is not before this one.

    A row has the keys of the group as in an `Aggregation`, then: the number of sessions, of their users, of sessions
    that are completed, of those that are abandoned and of those that have ended, then the median and the 95th
    percentile of the microseconds from the beginning to the last end, None or NaN if none has ended. Groups of the most
    sessions come first, then by keys.

    Attributes:
        beyond: answers only the groups after this one, whose `ordered` is its number of sessions; before it if
            `backwards`.
        backwards: answers the last groups instead of the first, in the opposite order.
        only_count: answers one row with the number of groups.
        covered: the events that sessions are made of.
        matched: what the first event of a session must match.
    """

    covered: Selection
    matched: Selection
    features: tuple[SessionFeature, ...]
    dimensions: tuple[Dimension, ...]
    paths: tuple[Path, ...]
    limit: int
    beyond: GroupPosition | None = None
    backwards: bool = False
    only_count: bool = False

    @property
    def selection(self) -> Selection:
        """The events that are asked about; more are read."""
        return self.matched

    @property
    def selects_nothing(self) -> bool:
        """Whether the answer has no rows."""
        return not self.features or self.covered.selects_nothing or self.matched.selects_nothing

    @property
    def bind_values(self) -> dict[str, Any]:
        """The bind parameters that both stores' statements have: the ids of each role of event, and the limit."""
        return {role: [one for feature in self.features for one in getattr(feature, role)] for role in _ROLES} | {
            "limit": self.limit
        }


def keys_of(question: Sessions, row: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """A row's values of the dimensions, None for an empty namespace or project, and its values at the paths."""
    first_path = len(question.dimensions)
    optional = (Dimension.NAMESPACE, Dimension.PROJECT)
    keys = (
        None if dimension in optional and not key else key
        for dimension, key in zip(question.dimensions, row, strict=False)
    )
    at_paths = row[first_path : first_path + KEY_COLUMNS * len(question.paths)]
    return tuple(keys), tuple(scalar_from_key(*columns) for columns in batched(at_paths, KEY_COLUMNS, strict=True))
