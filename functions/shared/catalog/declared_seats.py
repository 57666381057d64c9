"""`DeclaredSeats`: which events of a feature assign and remove seats."""

from collections.abc import Sequence

from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.catalog.names import is_field_name
from functions.shared.catalog.seat import SeatEvents


class DeclaredSeats:
    """What a `Feature` declares of seats.

    Attributes:
        file: file of the definition, for messages.
        seat_events: the events that assign and remove seats; None without any.
        assigned_users_fields: descriptions of the fields of `AiMetrics` that count users with a seat, by name.
    """

    file: str

    def __init__(self) -> None:
        self.seat_events: SeatEvents | None = None
        self.assigned_users_fields: dict[str, str] = {}

    def seats(self, *, assigned: Sequence[str], removed: Sequence[str], product: str) -> None:
        """Declares that events of the feature assign and remove seats of their user, in their namespace.

        Args:
            assigned: names of the events that assign a seat.
            removed: names of the events that remove it.
            product: payload key of what the seat is for, or keys joined by dots.

        Raises:
            DefinitionError: a name of an event is missing, or seats are declared twice.
        """
        if isinstance(assigned, str) or isinstance(removed, str) or not (assigned and removed):
            raise DefinitionError(f"{self.file}: seats: assigned and removed must be lists of at least one name")
        if self.seat_events is not None:
            raise DefinitionError(f"{self.file}: seats are declared twice")
        self.seat_events = SeatEvents(tuple(assigned), tuple(removed), product)

    def assigned_users(self, name: str, *, description: str = "") -> None:
        """Declares a field of `AiMetrics`: how many users have a seat at the end of the period.

        Args:
            name: name of the field.

        Raises:
            DefinitionError: the name is not a GraphQL field name, or the feature declares no seats before.
        """
        if not is_field_name(name):
            message = f"assigned users {name!r} is not a name that GraphQL allows, beginning in lower case"
            raise DefinitionError(f"{self.file}: {message}")
        if self.seat_events is None:
            raise DefinitionError(f"{self.file}: assigned users {name!r} need seats, declared before")
        self.assigned_users_fields[name] = description or "How many users had a seat at the end of the period."
