"""Writing what a batch of events says of namespaces, projects and users."""

from collections.abc import Set
from datetime import date
from typing import NamedTuple

import psycopg
from aws_lambda_powertools import Logger

from functions.ingest.directory.directory import Directory
from functions.ingest.directory.fact import Facts, Statement, Subject
from functions.ingest.directory.known_facts import KnownFacts
from functions.ingest.directory.lock import (
    Restated,
    Waiting,
    directory_held_alone,
    directory_held_together,
    fold_restated,
)
from functions.ingest.directory.places import change_places
from functions.ingest.directory.user_names import NamedUser, add_names, change_names, write_users
from functions.ingest.directory.users import Users
from functions.shared.postgres import Connection, Database, reason_of

logger = Logger(child=True)


class _MustBeAlone(Exception):
    """A batch that holds the lock together with others would change a value."""


class FactWriter:
    """Writes what a batch says, beside what is known."""

    def __init__(self, directory: Directory, users: Users, known: KnownFacts) -> None:
        self._directory = directory
        self._users = users
        self._known = known
        self._waiting = Waiting()
        self._new_names: list[NamedUser] = []
        self._usernames: dict[int, str] = {}

    def write(self, connection: Connection) -> None:
        """Writes it. Belongs at the end of the transaction in which the events are stored, for others wait then."""
        self._directory.collect()
        if not self._directory.stated and not self._users.active_on:
            return
        try:
            with directory_held_together(connection):
                self._write_together(connection)
        except _MustBeAlone:
            self._known.forget()  # it may have read what it had written itself, which is undone
            with directory_held_alone(connection):
                self._write_alone(connection)

    def after_commit(self, database: Database) -> None:
        """Keeps in mind what was written, and puts in order what batches have left."""
        known = self._known
        for path, user, statement in self._new_names:
            known.names[path].setdefault(user, statement.value)
        for user, username in self._usernames.items():
            if known.usernames.get(user) is None:
                known.usernames[user] = username
        for user, active_on in self._users.active_on.items():
            known.active_on[user] = max(active_on, known.active_on.get(user, date.min))
        if self._waiting.is_much:
            try:
                database.run(fold_restated)
            except psycopg.Error as error:  # the batch is stored all the same, and the next one tries again
                logger.warning("facts that were stated again wait to be written", extra={"reason": reason_of(error)})

    def _write_together(self, connection: Connection) -> None:
        """Writes what is new, and states again what is known.

        Raises:
            _MustBeAlone: something that is known would be changed.
        """
        self._read(connection)
        names = self._sorted_names()
        if names.renamed or self._changed_places():
            raise _MustBeAlone
        if names.new and add_names(names.new, connection) < len(names.new):
            self._known.read_names(self._users.names, connection)  # others wrote some of them
            now_known = self._sorted_names()
            if now_known.renamed:
                raise _MustBeAlone
            names = names._replace(restated=now_known.restated)
        written = self._write_users(names, connection)
        if any(username != self._usernames.get(user, username) for user, username in written.items()):
            raise _MustBeAlone
        self._restate(names, set(), connection)

    def _write_alone(self, connection: Connection) -> None:
        """Writes everything, and what follows from it."""
        self._read(connection)
        self._known.read_names(self._users.names, connection)
        self._known.read_users(self._users.active_on, connection)
        changed = self._changed_places()
        if changed:
            change_places({subject: self._directory.stated[subject] for subject in changed}, connection)
        names = self._sorted_names()
        if names.new:
            add_names(names.new, connection)
        self._write_users(names, connection)
        if names.renamed:
            change_names(names.renamed, connection)
        self._restate(names, set(changed), connection)

    def _read(self, connection: Connection) -> None:
        self._known.refresh(connection)
        self._known.read(self._directory.stated, connection)

    def _changed_places(self) -> list[Subject]:
        known = self._known
        return [
            subject
            for subject, stated in self._directory.stated.items()
            if known.is_contested(subject) or _may_change(known.facts(subject), stated)
        ]

    def _sorted_names(self) -> "_Names":
        """The names that the batch states, by what is known of them."""
        names, usernames = _Names([], [], [], set()), self._known.usernames
        for path, stated in self._users.names.items():
            known = self._known.names[path]
            for user, (username, _, _) in stated.items():
                overall = usernames.get(user)
                if overall is None:
                    names.unnamed.add(user)
                is_overall = overall is None or overall == username
                if is_overall and known.get(user) == username:
                    names.restated.append((path, user))
                elif is_overall and user not in known:
                    names.new.append((path, user, self._users.statement(path, user)))
                else:
                    names.renamed.append((path, user, self._users.statement(path, user)))
        return names

    def _write_users(self, names: "_Names", connection: Connection) -> dict[int, str | None]:
        """Writes who was active, and names of users who may have none; returns those of the rows that were written."""
        known = self._known
        self._new_names, self._usernames = names.new, self._users.newest_names(names.unnamed)
        rows = [
            {"id": user, "active_on": active_on, "username": self._usernames.get(user)}
            for user, active_on in self._users.active_on.items()
            if user in self._usernames or known.active_on.get(user, date.min) < active_on
        ]
        return write_users(rows, connection) if rows else {}

    def _restate(self, names: "_Names", changed: Set[Subject], connection: Connection) -> None:
        """Writes the times of what is known already."""
        restated = Restated()
        for subject, stated in self._directory.stated.items():
            if subject not in changed:
                known = self._known.facts(subject)
                for (attribute, scope), statement in stated.items():
                    if statement.value == known[attribute, scope].value:
                        restated.add(subject, attribute, scope, statement)
        for path, user in names.restated:
            restated.add_name(user, path, *self._users.names[path][user][1:])
        self._waiting = restated.write(connection)


class _Names(NamedTuple):
    """Names of users in namespaces, as a batch states them.

    Attributes:
        new: no name of the user is known in the namespace.
        renamed: the name is another than is known in the namespace, or than the newest of all.
        restated: by namespace path and user; the name is known.
        unnamed: users who have no name, as far as is known.
    """

    new: list[NamedUser]
    renamed: list[NamedUser]
    restated: list[tuple[str, int]]
    unnamed: set[int]


def _may_change(known: Facts, stated: Facts) -> bool:
    """Whether something that was stated is new, or may be newer than what is known; its time may be later by now."""
    return any(key not in known or _may_replace(statement, known[key]) for key, statement in stated.items())


def _may_replace(statement: Statement, known: Statement) -> bool:
    if known.stated_at is None or (statement.value != known.value and statement.order > known.order):
        return True
    return (
        statement.first_received_at is not None
        and known.first_received_at is not None
        and statement.first_received_at < known.first_received_at
    )
