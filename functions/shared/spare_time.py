"""Does other work while PostgreSQL works, instead of waiting idle. No thread is needed."""

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, override

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Wait

NO_WORK: Iterator[object] = iter(())

_EVENTS = {Wait.R: select.POLLIN, Wait.W: select.POLLOUT, Wait.RW: select.POLLIN | select.POLLOUT}


class SpareTimeConnection[Row](psycopg.Connection[Row]):
    """A connection that can do other work while it waits for PostgreSQL.

    Attributes:
        spare_work: makes a step of this work for each item; None without such work.
    """

    spare_work: Iterator[object] | None = None

    @override
    def wait[Result](self, gen: PQGen[Result], *arguments: Any, **options: Any) -> Result:
        """Completes an operation on the connection."""
        if self.spare_work is not None:
            gen = _working(gen, self.pgconn.socket, self.spare_work)
        return super().wait(gen, *arguments, **options)


@contextmanager
def spare_time_used(connection: psycopg.Connection[Any], work: Iterator[object]) -> Iterator[None]:
    """Makes steps of `work` whenever the connection waits within the block.

    PostgreSQL waits while a step is made, so steps should take about a millisecond. No step may use the connection, or
    raise.
    """
    if not isinstance(connection, SpareTimeConnection):
        yield
        return
    connection.spare_work = work
    try:
        yield
    finally:
        connection.spare_work = None


def _working[Result](operation: PQGen[Result], socket: int, work: Iterator[object]) -> PQGen[Result]:
    """Makes steps of `work` before each wait of the operation, until PostgreSQL is ready or no step is left."""
    poll = select.poll()
    try:
        wanted = next(operation)
        while True:
            poll.register(socket, _EVENTS[wanted])
            while not poll.poll(0):
                try:
                    next(work)
                except StopIteration:
                    break
            wanted = operation.send((yield wanted))
    except StopIteration as done:
        result: Result = done.value
        return result
