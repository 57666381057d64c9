"""Finds the events of a batch that are not stored because their user or namespace was erased after they were sent."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from functions.ingest.event.concerned import Concerned
from functions.ingest.message.batch import Batch
from functions.ingest.postgres.erasures import Erasures
from functions.ingest.postgres.events import RejectedRow
from functions.ingest.postgres.row import Row
from functions.ingest.transform import Candidate

type EventKey = tuple[int, int]
"""`id()` of the event's batch, and index of the event."""


class EventsErased(Exception):
    """Some events of a batch are not to be stored. What other events lead to may have followed from these.

    Args:
        keys: the events.
    """

    def __init__(self, keys: frozenset[EventKey]) -> None:
        super().__init__(f"{len(keys)} events belong to erased users or namespaces")
        self.keys = keys


def key_of(batch: Batch, index: int) -> EventKey:
    """Returns the key of the event at `index`."""
    return id(batch), index


class UnerasedSlices(Iterable[Sequence[Row]]):
    """Slices of rows. Iterating raises `EventsErased` before it yields an erased row.

    Args:
        slices: can be iterated repeatedly, also while another iteration is under way.
        candidates: the events of all slices.
    """

    def __init__(self, slices: Iterable[Sequence[Row]], candidates: Collection[Candidate], erasures: Erasures) -> None:
        self._slices = slices
        self._candidates = candidates
        self._erasures = erasures

    def __iter__(self) -> Iterator[Sequence[Row]]:
        is_checked = not self._erasures
        for rows in self._slices:
            if not is_checked and self._erasures.may_repel(rows):
                for _ in self._slices:
                    pass  # makes the rest of the rows
                self._require_none_erased()
                is_checked = True
            yield rows

    def _require_none_erased(self) -> None:
        _raise_if_any(
            key_of(candidate.batch, candidate.index)
            for candidate in self._candidates
            if candidate.row is not None
            and self._erasures.repel(_concerned(candidate, candidate.row), candidate.batch.received_at)
        )


def require_none_erased(rejected: Iterable[tuple[EventKey, RejectedRow]], erasures: Erasures) -> None:
    """Checks rejected rows, each with the key of its event.

    Raises:
        EventsErased: some of them belong to erased users or namespaces.
    """
    if erasures:
        _raise_if_any(key for key, row in rejected if erasures.repel_rejected(row))


def _raise_if_any(keys: Iterable[EventKey]) -> None:
    found = frozenset(keys)
    if found:
        raise EventsErased(found)


def _concerned(candidate: Candidate, row: Row) -> Concerned:
    """Returns what the row concerns: the results of the transformations count, not what the event names."""
    projects = frozenset[int]() if row.project_id is None else frozenset({row.project_id})
    if row.namespace_path is not None:
        return Concerned(frozenset({row.user_id}), frozenset({row.namespace_path}), project_ids=projects)
    event = candidate.event
    namespaces = {event.namespace.id, event.project.namespace.id} - {None}
    return Concerned(
        frozenset({row.user_id}),
        namespace_ids=frozenset(number for number in namespaces if number is not None),
        project_ids=projects,
    )
