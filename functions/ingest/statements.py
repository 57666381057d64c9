"""Collects what the events of a transaction state about namespaces, projects and users."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import batched

from functions.ingest.directory.directory import BatchDirectory
from functions.ingest.directory.fact_writer import FactWriter
from functions.ingest.directory.known_facts import KnownFacts
from functions.ingest.directory.users import BatchUsers
from functions.ingest.transform import Candidate

_EVENTS_A_STEP = 500
"""One step takes about a millisecond."""


class Statements:
    """The statements of a transaction's events.

    Attributes:
        facts: writes them.
    """

    def __init__(self, known: KnownFacts) -> None:
        self.directory = BatchDirectory(known)
        self.users = BatchUsers()
        self.facts = FactWriter(self.directory, self.users, known)

    def steps(self, candidates: Sequence[Candidate]) -> Iterator[None]:
        """Collects some statements for each item, and prepares what writes them. The rows must have been made."""
        for some in batched(candidates, _EVENTS_A_STEP, strict=False):
            self._collect(some)
            yield
        yield from self.facts.prepare()

    def _collect(self, candidates: Iterable[Candidate]) -> None:
        known_sender, is_authoritative = None, False
        for candidate in candidates:
            event, row, sender = candidate.event, candidate.row, candidate.sender
            if sender is not known_sender:  # senders share their grants
                known_sender, is_authoritative = sender, sender.is_authoritative
            self.directory.add_event(event, sender, candidate.batch.received_at)
            if row is not None:
                self.directory.rows.add((row.namespace_path, row.project_id))
                if is_authoritative:
                    username = event.username if row.user_id == event.user_id else None
                    path = candidate.moved_from or row.namespace_path
                    self.users.add_event(row.user_id, username, row.timestamp, path, sender)
