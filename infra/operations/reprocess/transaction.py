"""Runs a transaction that changes stored events while consumers, the mover and erasures go on."""

import time
from collections.abc import Callable

import psycopg

from functions.shared.directory_lock import shared_directory_lock
from functions.shared.postgres import Connection
from functions.shared.secret import UrlSource
from functions.sync.moves import Mover
from infra.operations.erasure.moves import MovesRemain, finish_moves

_MAX_ATTEMPTS = 20
_PAUSE_SECONDS = 0.2

_CONFLICTS = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)

_OPEN_MOVES = "SELECT EXISTS (SELECT FROM namespace_moves WHERE done_at IS NULL)"


class ReprocessError(Exception):
    """Stored events can't be changed now; the message says why."""


class _EventsMove(Exception):
    """Namespaces have moved, and their events have not yet."""


def in_transaction[Result](
    connection: Connection, database_url: UrlSource, wait_seconds: float, work: Callable[[], Result]
) -> Result:
    """Runs `work` in a transaction; again if others stood against it.

    The mover leaves events alone that changed after a namespace has moved, because they were meant for its former path.
    So events change only while no move is open, and no namespace moves meanwhile.

    Args:
        wait_seconds: longest wait for events to move.

    Raises:
        ReprocessError: events of moved namespaces do not come to their place.
    """
    attempts = 0
    while True:
        try:
            with shared_directory_lock(connection):
                if connection.execute(_OPEN_MOVES).fetchone() == (True,):
                    raise _EventsMove  # noqa: TRY301 - ends the transaction
                return work()
        except _EventsMove:
            _finish_moves(connection, database_url, wait_seconds)
        except _CONFLICTS:
            attempts += 1
            if attempts == _MAX_ATTEMPTS:
                raise
            time.sleep(_PAUSE_SECONDS)


def _finish_moves(connection: Connection, database_url: UrlSource, seconds: float) -> None:
    try:
        finish_moves(connection, Mover(database_url), seconds)
    except MovesRemain as error:
        raise ReprocessError(str(error)) from error
