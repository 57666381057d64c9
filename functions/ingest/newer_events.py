"""Keeps internal events that a newer release defined. After a rollback, this release would ignore them.

A deployment records its events in `event_types`, and an older release leaves there what a newer one recorded.
"""

import time
from collections.abc import Set
from dataclasses import dataclass, field

from functions.ingest.event.attributes import internal_event_name
from functions.ingest.reading import Reading
from functions.shared.catalog.registry import Registry
from functions.shared.postgres import Connection, Database
from functions.shared.rejection import Rejection

_KNOWN_SECONDS = 60

_RECORDED = "SELECT name FROM event_types WHERE NOT deprecated AND removed_in IS NULL"


@dataclass(slots=True)
class NewerEvents:
    """The names of events that only a newer release defines, read at most once a minute."""

    registry: Registry
    _names: Set[str] = frozenset()
    _read_again_at: float = field(default=0.0)

    def keep(self, reading: Reading, database: Database) -> None:
        """Rejects those of the ignored events that a newer release defines, so that they can be replayed."""
        if not reading.ignored:
            return
        if time.monotonic() >= self._read_again_at:
            self._names = database.run(_recorded) - self.registry.events.keys()
            self._read_again_at = time.monotonic() + _KNOWN_SECONDS
        if not self._names:
            return
        for raw, index, batch in reading.ignored:
            name = internal_event_name(raw)
            if name in self._names:
                reading.outcome.ignored -= 1
                reading.outcome.reject(
                    raw, index, batch, Rejection("unknown_event", f"Only a newer release defines the event {name}.")
                )


def _recorded(connection: Connection) -> frozenset[str]:
    return frozenset(name for (name,) in connection.execute(_RECORDED))
