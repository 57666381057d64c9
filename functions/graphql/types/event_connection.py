"""Relay connections of events: reads only what the query selects of each event, and makes the lists by a plan."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import batched
from typing import Any

import msgspec
from graphql import located_error

from functions.graphql.context import Coverage, Info, RequestContext
from functions.graphql.query.store import USER_ID, USERNAME, EventRow, PageWindow
from functions.graphql.types import arguments
from functions.graphql.types.arguments import select
from functions.graphql.types.connection import ConnectionPage
from functions.graphql.types.cursor import from_cursor
from functions.graphql.types.event_columns import cursor_of
from functions.graphql.types.event_plan import EventPlan, EventTypes, plan_events
from functions.graphql.types.selected_fields import variables_below
from functions.graphql.types.user_fields import last_days

_ROWS_AT_ONCE = 50  # a query may ask for each value of an event about fifty times


class EventPage(ConnectionPage[EventRow]):
    """A page of events, whose lists are made as planned."""

    def __init__(self, plan: EventPlan, context: RequestContext, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._plan = plan
        self._context = context
        self._username_error: Exception | None = None

    def make_list(self, info: Info) -> msgspec.Raw:
        """Makes the list that the field being resolved selects, as JSON.

        The context gets the errors of its usernames.

        Raises:
            AnswerTooLarge: the answer has more bytes than can be sent.
        """
        made = self._plan.lists[str(info.path.key)]
        parts = []
        for rows in batched(self.rows, _ROWS_AT_ONCE, strict=False):
            items = msgspec.json.encode(made(rows))
            self._context.answer_bytes.take(len(items))
            parts.append(items)
        if self._username_error is not None:
            for index, (keys, nodes) in made.usernames(self.rows):
                path = [*info.path.as_list(), index, *keys]
                self._context.errors.append(located_error(self._username_error, list(nodes), path))
        return msgspec.Raw(_joined(parts))

    @cached_property
    def rows(self) -> Sequence[EventRow]:
        """The events of the page, with usernames and days of last activity if selected."""
        rows = self._named_rows()
        if not self._plan.reads_last_days:
            return rows
        days = last_days({row[USER_ID] for row in rows}, self._context)
        return [(*row, days.get(row[USER_ID])) for row in rows]

    def _named_rows(self) -> Sequence[EventRow]:
        if not self._plan.requested.usernames or self._context.events.knows_usernames:
            return self.nodes
        try:
            names = self._context.directory.usernames({row[USER_ID] for row in self.nodes})
        except Exception as error:  # noqa: BLE001 - any error belongs to the field
            self._username_error = error
            return self.nodes
        return [(*row[:USERNAME], names.get(row[USER_ID]), *row[USERNAME + 1 :]) for row in self.nodes]


def _joined(lists: Sequence[bytes]) -> bytes:
    """Joins lists, as JSON and not empty."""
    if len(lists) == 1:
        return lists[0]
    return b"[" + b",".join(items[1:-1] for items in lists) + b"]"


def event_connection(
    coverage: Coverage, info: Info, event_ids: Sequence[int], types: EventTypes, given: Mapping[str, Any]
) -> EventPage:
    """A page of events.

    Args:
        event_ids: ids of the field's event types.
        given: the field's arguments.

    Raises:
        InvalidArgument: an argument is invalid.
    """
    context = info.context
    selection = select(coverage, context.registry, context.today, given)
    selection = msgspec.structs.replace(
        selection, event_ids=tuple(event_id for event_id in selection.event_ids if event_id in event_ids)
    )
    page_request = arguments.page_request(given)
    beyond = page_request.position(from_cursor)
    context.budget.take(page_request.size)
    plan = context.plans.plan(info, lambda: variables_below(info, info.field_nodes), lambda: plan_events(info, types))

    def read(limit: int) -> Sequence[EventRow]:
        window = PageWindow(limit, beyond, page_request.backwards)
        return context.events.events(selection, window, plan.requested)

    return EventPage(plan, context, page_request, read, cursor_of, lambda: context.events.count(selection))


def resolve_list(page: EventPage, info: Info) -> list[Any]:
    """Resolves `nodes` and `edges`: leaves the list empty for the executor, and fills the made list in afterwards."""
    info.context.made_lists.append((info.path, page.make_list(info)))
    info.context.deadline.remaining()
    return []
