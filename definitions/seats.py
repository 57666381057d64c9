"""Seats of products: who was assigned one, and when."""

from definitions import Feature, Payload


class Seat(Payload):
    """A seat of the event's user, in the event's namespace."""

    product: str | None = None  # what the seat is for, like `duo_pro`


feature = Feature("seats", owner="seat-management", payload=Seat, field="seatEvents", counts_as_use=False)
feature.events(
    seat_assigned=1001,
    seat_removed=1002,
)
feature.seats(assigned=["seat_assigned"], removed=["seat_removed"], product="product")
feature.assigned_users("duoAssignedUsersCount")
