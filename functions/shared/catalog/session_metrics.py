"""`SessionMetrics`: fields of a feature's metrics about its sessions, by the values at a payload key."""

from collections.abc import Iterator, Mapping

import msgspec

from functions.shared.catalog.payload_type import PayloadType, type_at


class SessionMetrics(msgspec.Struct, frozen=True):
    """Fields of a feature's metrics that count sessions in groups.

    Attributes:
        by: payload key that sessions are grouped by, or keys joined by dots.
        field: field with the figures of each group.
        users_field: field that counts the sessions of each user and group; None for no such field.
    """

    by: str
    field: str
    users_field: str | None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the feature's metrics."""
        return (self.field,) if self.users_field is None else (self.field, self.users_field)

    def problems(self, payload_types: Mapping[str, PayloadType], *, has_sessions: bool) -> Iterator[str]:
        """A line for what the fields need and the feature does not have."""
        if not has_sessions:
            yield "session metrics need the feature to have a session_key"
        if type_at(payload_types, self.by) is not str:
            yield f"session metrics need to be grouped by a key of type str, which {self.by!r} is not"
