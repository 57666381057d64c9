"""`aiIdleSeats`: who has a seat and does not use it."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec

from functions.graphql.context import Coverage, Info, RequestContext, Usernames, UserNode
from functions.graphql.query.aggregation import UserPosition
from functions.graphql.query.people import IdleSeats
from functions.graphql.types import arguments
from functions.graphql.types.connection import ConnectionPage
from functions.graphql.types.cursor import from_user_cursor, to_user_cursor
from functions.graphql.types.sdl import FILTERS, PAGE, connection, field_of_both
from functions.graphql.types.seats import PRODUCT, seats_until
from functions.graphql.types.use import use

_ORDER = "IDLE_SEATS"  # in cursors: of no order of `aiUserMetrics`
_ABOUT = """\
The users that have a seat at the end of `endDate`, as {where} say, and none of the selected events in the days that are
selected, by their ids. Of the filters, only `userIds` selects seats.
{use_only}\
"""

TEXT = f"""
"A user that has a seat and does not use it."
type AiIdleSeat {{
  "The user. `lastDuoActivityOn` says when the user last used anything."
  user: User!
  "The day on which the seat was assigned, in UTC; of several seats the earliest one."
  assignedOn: Date!
}}

{connection("AiIdleSeat", "users with an idle seat")}
{field_of_both("IdleSeats", _ABOUT, PRODUCT + FILTERS + PAGE, "AiIdleSeatConnection!")}"""


class IdleSeat(msgspec.Struct, frozen=True):
    """A node of `aiIdleSeats`."""

    user: UserNode
    assigned_on: date


def resolve_idle_seats(
    coverage: Coverage, info: Info, product: str | None = None, **given: Any
) -> ConnectionPage[IdleSeat]:
    """Resolves `aiIdleSeats`."""
    context = info.context
    page_request = arguments.page_request(given)
    beyond = page_request.position(lambda cursor: from_user_cursor(_ORDER, cursor))
    context.budget.take(page_request.size)
    selection = use(coverage, context, given)
    seats = seats_until(coverage, context, given, product)
    complete: list[int] = []  # the number of users, once a page has them all

    def read(limit: int) -> Sequence[IdleSeat]:
        if seats is None:
            return []
        after = None if beyond is None else beyond.user_id
        question = IdleSeats(selection, seats, limit, after, page_request.backwards)
        found = _nodes(context, context.events.people(question))
        if beyond is None and len(found) < limit:
            complete.append(len(found))
        return found[::-1] if page_request.backwards else found

    def count() -> int:
        if complete:
            return complete[0]
        rows = [] if seats is None else context.events.people(IdleSeats(selection, seats, only_count=True))
        return int(rows[0][0]) if rows else 0

    return ConnectionPage(page_request, read, _cursor_of, count)


def _nodes(context: RequestContext, rows: Sequence[tuple[int, date]]) -> list[IdleSeat]:
    users = Usernames((user_id for user_id, _ in rows), context.directory)
    return [IdleSeat(UserNode(user_id, users), since) for user_id, since in rows]


def _cursor_of(seat: IdleSeat) -> str:
    return to_user_cursor(_ORDER, UserPosition(0, seat.user.id))
