"""`SessionEvents`: which events begin, end and complete the sessions of a feature."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from functions.shared.catalog.payload_type import PayloadType, describe, type_at


class SessionEvents(msgspec.Struct, frozen=True):
    """How the events of a feature make up sessions: those with one value at a payload key, in one namespace.

    Attributes:
        key: the payload key, or keys joined by dots.
        begins: names of the events that begin a session; empty for any event.
        ends: names of the events that end a session; empty if any event may be the last.
        completes: names of the events among `ends` that end a session with success.
        are_declared: whether the definition says which events these are.
    """

    key: str
    begins: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    completes: tuple[str, ...] = ()
    are_declared: bool = False

    def problems(self, events: Iterable[str], payload_types: Mapping[str, PayloadType]) -> Iterator[str]:
        """A line for each event or payload key that is named and does not fit."""
        known = set(events)
        for name in dict.fromkeys((*self.begins, *self.ends, *self.completes)):
            if name not in known:
                yield f"sessions name the unknown event {name!r}"
        for name in self.begins:
            if name in self.ends:
                yield f"sessions name {name!r} as an event that begins a session and as one that ends it"
        for name in self.completes:
            if name not in self.ends:
                yield f"sessions name {name!r} in completes, but not in ends: what completes a session ends it"
        key_type = type_at(payload_types, self.key)
        if key_type is None:
            yield f"session_key {self.key!r} is a payload key that the payload class does not declare"
        elif key_type not in (str, int):
            yield f"session_key {self.key!r} is {describe(key_type)}, but needs to be str or int"
