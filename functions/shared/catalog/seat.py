"""`SeatEvents`: which events assign and remove seats."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from functions.shared.catalog.payload_type import PayloadType, type_at


class SeatEvents(msgspec.Struct, frozen=True):
    """The events of a feature that say who has a seat.

    Attributes:
        assigned: names of the events that assign a seat to their user.
        removed: names of the events that remove the seat.
        product: payload key of what the seat is for, or keys joined by dots.
    """

    assigned: tuple[str, ...]
    removed: tuple[str, ...]
    product: str

    def problems(self, events: Iterable[str], payload_types: Mapping[str, PayloadType]) -> Iterator[str]:
        """A line for each event or payload key that is named and does not fit."""
        known = set(events)
        for name in (*self.assigned, *self.removed):
            if name not in known:
                yield f"seats name the unknown event {name!r}"
        if both := sorted(set(self.assigned) & set(self.removed)):
            yield f"seats name {both[0]!r} as an event that assigns and as one that removes"
        if type_at(payload_types, self.product) is not str:
            yield f"seats need a product: {self.product!r} is no payload key of type str"
