"""Shares the time of a run among tenants."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Protocol

from psycopg.errors import LockNotAvailable

from functions.shared.traversal_path import root_of

_END = object()


class Move(Protocol):
    """A move of a namespace or project."""

    @property
    def old_path(self) -> str:
        """The former path."""


def by_turns[OneMove: Move](moves: Iterable[OneMove], steps: Callable[[OneMove], Iterator[object]]) -> None:
    """Carries out moves, those of a root namespace one after another.

    Does a step of each root namespace in turn, so that a long move of one tenant does not delay those of others. The
    moves of a root namespace that meets locked rows are given up; a later run continues them.

    Args:
        steps: carries out a move, and yields after each step.
    """
    of_roots: dict[str, list[OneMove]] = defaultdict(list)
    for move in moves:
        of_roots[root_of(move.old_path)].append(move)
    turns = deque(chain.from_iterable(map(steps, some)) for some in of_roots.values())
    while turns:
        turn = turns.popleft()
        with suppress(LockNotAvailable):
            if next(turn, _END) is not _END:
                turns.append(turn)
