"""`ExportedEvent`: a stored event with the names that people know."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from functions.graphql.query.store import EVENT, ID, NAMESPACE_PATH, PAYLOAD, PROJECT_ID, TIMESTAMP, USER_ID, EventRow
from functions.shared.catalog.registry import Registry


class ExportedEvent(NamedTuple):
    """An event in the columns of an export, in their order.

    Attributes:
        event: name of the event.
        feature: name of the feature.
        username: None if unknown to the reader.
        namespace_path: traversal path; None without a namespace.
        namespace_full_path: None if unknown, or without a namespace.
        project_id: None without a project.
        payload: JSON without spaces, as text.
    """

    id: UUID
    timestamp: datetime
    event: str
    feature: str
    user_id: int
    username: str | None
    namespace_path: str | None
    namespace_full_path: str | None
    project_id: int | None
    payload: str


COLUMNS = ExportedEvent._fields


def exported_events(
    rows: Iterable[EventRow], registry: Registry, usernames: Mapping[int, str], full_paths: Mapping[str, str]
) -> list[ExportedEvent]:
    """The events of rows that have the whole payload.

    Args:
        usernames: by user id.
        full_paths: by traversal path.
    """
    names = {number: (event.name, event.feature.name) for number, event in registry.by_id.items()}
    return [
        ExportedEvent(
            row[ID],
            row[TIMESTAMP],
            *names[row[EVENT]],
            row[USER_ID],
            usernames.get(row[USER_ID]),
            row[NAMESPACE_PATH],
            full_paths.get(row[NAMESPACE_PATH] or ""),
            row[PROJECT_ID],
            msgspec.json.format(row[PAYLOAD], indent=-1),
        )
        for row in rows
    ]


def users_and_paths(rows: Sequence[EventRow]) -> tuple[set[int], set[str]]:
    """The users and namespaces of the rows, whose names an export needs."""
    return {row[USER_ID] for row in rows}, {row[NAMESPACE_PATH] for row in rows if row[NAMESPACE_PATH] is not None}
