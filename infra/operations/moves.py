"""Moves a namespace by hand, and shows the moves that are not done."""

from datetime import datetime
from typing import NamedTuple

from functions.ingest.directory.fact import Subject
from functions.ingest.directory.moves import Move, record_moves
from functions.ingest.event.location import lineage, namespace_id_of
from functions.shared.directory_lock import exclusive_directory_lock, next_version
from functions.shared.postgres import Connection
from infra.operations import directory

_OPEN = """
    SELECT kind, id, old_path, new_path, recorded_at, progress
    FROM namespace_moves
    WHERE done_at IS NULL
    ORDER BY number
"""


class OpenMove(NamedTuple):
    """A move that is not done.

    Attributes:
        progress: number of events moved so far.
    """

    kind: str
    id: int
    old_path: str
    new_path: str
    recorded_at: datetime
    progress: int


class MoveRefused(Exception):
    """A namespace can't be moved as asked; the message says why."""


def open_moves(connection: Connection) -> list[OpenMove]:
    """Returns the moves that are not done, in the order in which they are carried out."""
    return [OpenMove(*row) for row in connection.execute(_OPEN)]


def current_path(connection: Connection, number: int) -> str | None:
    """Returns the traversal path of a namespace; None if it is unknown."""
    return directory.current(connection, "namespace", number)["path"]


def state_move(connection: Connection, old_path: str, new_path: str, operator: str) -> None:
    """States that a namespace is at a path, unless it is there already, and has the mover examine its old path.

    Raises:
        MoveRefused: the paths are the same, or not of one namespace, or the new path has an id twice.
    """
    number = namespace_id_of(new_path)
    if namespace_id_of(old_path) != number:
        raise MoveRefused(f"{old_path} and {new_path} end in different ids; a namespace keeps its id when it moves")
    if old_path == new_path:
        raise MoveRefused(f"the namespace {number} can't move from {old_path} to the same path")
    if len({number for number, _ in lineage(new_path)}) < new_path.count("/"):
        raise MoveRefused(f"{new_path} has an id twice")
    subject: Subject = ("namespace", number)
    with exclusive_directory_lock(connection):
        before = directory.current(connection, *subject)
        if before["path"] != new_path:
            directory.state_location(connection, subject, {"path": new_path}, operator)
        record_moves([Move(subject, old_path, new_path)], next_version(connection), connection)
        directory.record(connection, "move", subject, operator, before)
