"""Writes what a batch of events states about namespaces, projects and users."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple

import psycopg
from aws_lambda_powertools import Logger

from functions.ingest.directory.directory import BatchDirectory
from functions.ingest.directory.fact import LONG_AGO, Facts, Statement, Subject
from functions.ingest.directory.known_facts import KnownFacts
from functions.ingest.directory.lock import (
    Restated,
    Waiting,
    fold_restated,
)
from functions.ingest.directory.moves import repeat_moves
from functions.ingest.directory.subjects import change_subjects
from functions.ingest.directory.user_names import (
    add_names,
    add_new_names,
    change_names,
    differing_names,
    write_overall_names,
    write_users,
)
from functions.ingest.directory.users import BatchUsers, NameSource, StatedNames
from functions.shared.directory_lock import exclusive_directory_lock, shared_directory_lock
from functions.shared.postgres import Connection, Database, reason_of

logger = Logger(child=True)


class _NeedsExclusiveLock(Exception):
    """A batch under the shared lock would change a value."""


class FactWriter:
    """Writes the statements of a batch."""

    def __init__(self, directory: BatchDirectory, users: BatchUsers, known: KnownFacts) -> None:
        self._directory = directory
        self._users = users
        self._known = known
        self._waiting = Waiting()
        self._draft: _Draft | None = None
        self._new_names: _Pairs = {}
        self._usernames: dict[int, str] = {}

    def prepare(self) -> Iterator[None]:
        """Prepares a part of the statements for each item, by what is known.

        If nothing else becomes known, `write` only sends them.
        """
        self._directory.collect_statements()
        yield
        if self._known.holds(self._directory.stated):
            names = self._sorted_names()
            yield
            self._draft = self._drafted(names)

    def write(self, connection: Connection) -> None:
        """Writes all statements. Call it last in the transaction that stores the events, because other batches wait."""
        self._directory.collect_statements()
        if not self._directory.stated and not self._users.active_on and not self._directory.rows:
            return
        try:
            with shared_directory_lock(connection):
                self._write_together(connection)
        except _NeedsExclusiveLock:
            with exclusive_directory_lock(connection):
                self._write_alone(connection)

    def after_commit(self, database: Database) -> None:
        """Remembers what was written, and folds the waiting times into the facts if there are many."""
        known = self._known
        for (path, is_limited), users in self._new_names.items():
            stated = self._users.names[path, is_limited]
            known.names[path].update({user: stated[user][0] for user in users})
        for user, username in self._usernames.items():
            if known.usernames.get(user) is None:
                known.usernames[user] = username
        for user, active_on in self._users.active_on.items():
            known.active_on[user] = max(active_on, known.active_on.get(user, date.min))
        if self._waiting.is_much:
            try:
                database.run(fold_restated)
            except psycopg.Error as error:  # the batch is stored all the same, and the next batch tries again
                logger.warning("restated facts could not be folded", extra={"reason": reason_of(error)})

    def _write_together(self, connection: Connection) -> None:
        """Writes new values, and restates known ones, under the shared lock.

        Raises:
            _NeedsExclusiveLock: a known value would change.
        """
        self._read(connection)
        draft, self._draft = self._draft, None
        if draft is None or draft.as_of != self._known.state:
            draft = self._drafted(self._sorted_names())
        restated = draft.restated
        if restated is None:
            raise _NeedsExclusiveLock
        if draft.new and not self._add(draft.new, connection):
            if differing_names(draft.new, connection):
                raise _NeedsExclusiveLock
            restated.add_names(draft.new)  # names that other batches wrote meanwhile are restated
        self._new_names = draft.names.new
        if self._write_users(draft.names, connection):
            raise _NeedsExclusiveLock
        self._waiting = restated.write(connection)

    def _drafted(self, names: "_Names") -> "_Draft":
        """Sorts what the batch states by what is known."""
        as_of = self._known.state
        if names.renamed or self._changes_subjects():
            return _Draft(as_of, names, [], None)
        restated = self._restated(names, self._directory.stated)
        return _Draft(as_of, names, self._users.stated(names.new), restated)

    def _write_alone(self, connection: Connection) -> None:
        """Writes all values and their consequences under the exclusive lock."""
        self._read(connection)
        self._known.read_users(self._users.active_on, connection)
        restated: Mapping[Subject, Facts] = self._directory.stated
        if self._changes_subjects():
            change_subjects(restated, connection)
            restated = {}
        names = self._sorted_names()
        for path, is_limited, user in self._add_names(names, connection):
            names.renamed[path, is_limited].append(user)
            names.restated[path, is_limited].remove(user)
        names.rename_wherever_renamed()
        others = self._write_users(names, connection)
        if names.renamed:
            change_names(self._users.stated(names.renamed), connection)
        if others:
            write_overall_names(others, connection)
            self._usernames = {}
        self._waiting = self._restated(names, restated).write(connection)

    def _read(self, connection: Connection) -> None:
        directory, placed_as_of = self._directory, self._directory.placed_as_of
        self._known.refresh(connection)
        self._known.read(directory.stated, connection)
        if directory.late_paths or (placed_as_of is not None and placed_as_of != self._known.version):
            version = self._known.version if placed_as_of is None else placed_as_of
            repeat_moves(version, directory.rows, directory.late_paths, connection)

    def _changes_subjects(self) -> bool:
        """Whether the batch may change what follows for a namespace or project."""
        known = self._known
        return any(
            known.is_contested(subject) or _may_change(known.facts(subject), stated)
            for subject, stated in self._directory.stated.items()
        )

    def _sorted_names(self) -> "_Names":
        """Sorts the names of the batch by what is known of them."""
        names, usernames = _Names(defaultdict(list), defaultdict(list), {}, set()), self._known.usernames
        for source, stated in self._users.names.items():
            known, restated = self._known.names[source[0]], list[int]()
            for user, (username, _, _) in stated.items():
                overall = usernames.get(user)
                if overall is None:
                    names.unnamed.add(user)
                elif overall != username:
                    names.renamed[source].append(user)
                    continue
                if known.get(user) == username:
                    restated.append(user)
                elif user in known:
                    names.renamed[source].append(user)
                else:
                    names.new[source].append(user)
            names.restated[source] = restated
        return names

    def _add_names(self, names: "_Names", connection: Connection) -> list[tuple[str, bool, int]]:
        """Writes names of users that have none in the namespace; returns the names that turn out to differ."""
        if not names.new:
            return []
        stated = self._users.stated(names.new)
        if self._add(stated, connection):
            self._new_names = names.new
            return []
        for source, users in names.new.items():
            names.restated[source] += users  # names that other batches wrote meanwhile are restated
        differing = differing_names(stated, connection)
        if not differing:
            self._new_names = names.new
        return differing

    def _add(self, stated: Sequence[StatedNames], connection: Connection) -> bool:
        """Writes names of users that have none in the namespace; returns whether that was true of all of them."""
        known = self._known
        if not known.others_name_users and add_new_names(stated, connection):
            return True
        added = add_names(stated, connection)
        known.others_name_users = not added
        return added

    def _write_users(self, names: "_Names", connection: Connection) -> list[int]:
        """Writes activity days, and names of users without a name; returns the users that have another name."""
        known = self._known
        self._usernames = self._users.overall_names(names.unnamed)
        rows = [
            (user, active_on, self._usernames.get(user))
            for user, active_on in self._users.active_on.items()
            if user in self._usernames or known.active_on.get(user, date.min) < active_on
        ]
        written = write_users(rows, connection) if rows else {}
        return [user for user, username in written.items() if username != self._usernames.get(user, username)]

    def _restated(self, names: "_Names", statements: Mapping[Subject, Facts]) -> Restated:
        """Returns the times of statements whose values are known already."""
        restated = Restated()
        for subject, stated in statements.items():
            known = self._known.facts(subject)
            for key, statement in stated.items():
                if statement.stated_at is not LONG_AGO and statement.value == known[key].value:
                    restated.add(subject, *key, statement)
        restated.add_names(self._users.stated(names.restated))
        return restated


type _Pairs = dict[NameSource, list[int]]


class _Names(NamedTuple):
    """The users that a batch names, by where they were named.

    Attributes:
        new: the user has no known name in the namespace.
        renamed: the name differs from the known one in the namespace, or from the user's overall name.
        restated: the name is the known one.
        unnamed: users without a known overall name.
    """

    new: defaultdict[NameSource, list[int]]
    renamed: defaultdict[NameSource, list[int]]
    restated: _Pairs
    unnamed: set[int]

    def rename_wherever_renamed(self) -> None:
        """Treats a user as renamed in every namespace if the batch renames the user in one.

        A restated name is noted without the name itself, and its time counts only later, when it is folded.
        """
        renamed = {user for users in self.renamed.values() for user in users}
        for source, users in self.restated.items():
            again = renamed.intersection(users)
            if again:
                self.restated[source] = [user for user in users if user not in again]
                self.renamed[source] += again


class _Draft(NamedTuple):
    """What a batch writes under the shared lock.

    Attributes:
        as_of: state of the known facts that this follows from.
        new: the names of `names.new`.
        restated: None if the batch may change a value, for which it needs the exclusive lock.
    """

    as_of: object
    names: _Names
    new: list[StatedNames]
    restated: Restated | None


def _may_change(known: Facts, stated: Facts) -> bool:
    """Whether a statement is new or may be newer than the known one. The known time may be outdated."""
    for key, statement in stated.items():
        held = known.get(key)
        if held is None or _may_replace(statement, held):
            return True
    return False


def _may_replace(statement: Statement, known: Statement) -> bool:
    if known.stated_at is None or (statement.value != known.value and statement.order > known.order):
        return True
    return (
        statement.first_received_at is not None
        and known.first_received_at is not None
        and statement.first_received_at < known.first_received_at
    )
