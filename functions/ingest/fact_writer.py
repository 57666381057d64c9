"""Writing what a batch of events says of namespaces, projects and users."""

from collections.abc import Set
from datetime import date
from typing import Any

from functions.ingest.directory import Directory
from functions.ingest.directory_lock import (
    MAX_RESTATED_BATCHES,
    Restated,
    directory_held_alone,
    directory_held_together,
    fold_restated,
)
from functions.ingest.known_facts import KnownFacts
from functions.ingest.place_facts import change_places
from functions.ingest.user_names import NamedUser, add_names, change_names, write_newest_names, write_users
from functions.ingest.users import Users
from functions.shared.fact import Facts, Statement, Subject
from functions.shared.postgres import Connection, Database


class _MustBeAlone(Exception):
    """A batch that holds the lock together with others would change a value."""


class FactWriter:
    """Writes what a batch says, beside what is known."""

    def __init__(self, directory: Directory, users: Users, known: KnownFacts) -> None:
        self._directory = directory
        self._users = users
        self._known = known
        self._waiting = 0

    def write(self, connection: Connection) -> None:
        """Writes it. Belongs at the end of the transaction in which the events are stored, for others wait then."""
        self._directory.collect()
        if not self._directory.stated and not self._users.users:
            return
        writing = _Writing(self._directory, self._users, self._known, connection)
        writing.read()
        try:
            self._waiting = writing.write(alone=writing.changes_values())
        except _MustBeAlone:
            self._known.forget()  # it read what it had written itself, which is undone
            self._waiting = writing.write(alone=True)

    def after_commit(self, database: Database) -> None:
        """Keeps in mind what was written, and puts in order what batches have left."""
        remember(self._users, self._known)
        if self._waiting > MAX_RESTATED_BATCHES:
            database.run(fold_restated)


class _Writing:
    """What a batch says, beside what is known."""

    def __init__(self, directory: Directory, users: Users, known: KnownFacts, connection: Connection) -> None:
        self._stated = directory.stated
        self._users = users
        self._known = known
        self._connection = connection

    def read(self) -> None:
        """Reads what is known of all that the batch speaks of."""
        self._known.refresh(self._connection)
        self._known.read(self._stated, self._connection)

    def changes_values(self) -> bool:
        """Whether the batch may change what is known, rather than say it again."""
        return bool(self._changed_places()) or bool(self._renamed())

    def write(self, *, alone: bool) -> int:
        """Writes what the batch says, and returns how many rows of `restated_facts` wait.

        Raises:
            _MustBeAlone: the lock was not held alone, though a value is to be changed.
        """
        if alone:
            with directory_held_alone(self._connection):
                self.read()
                self._known.read_names(self._users.names, self._connection)
                self._known.read_users(self._users.users, self._connection)
                changed = self._changed_places()
                if changed:
                    change_places({subject: self._stated[subject] for subject in changed}, self._connection)
                self._rename()
                waiting = self._restate(set(changed))
        else:
            with directory_held_together(self._connection):
                self.read()
                if self.changes_values() or not (self._add_names() and self._write_users()):
                    raise _MustBeAlone
                waiting = self._restate(set())
        return waiting

    def _changed_places(self) -> list[Subject]:
        return [subject for subject, stated in self._stated.items() if _may_change(self._known.facts(subject), stated)]

    def _renamed(self) -> list[NamedUser]:
        """The names that differ from those known, in their namespace or overall."""
        renamed = []
        usernames = self._known.usernames
        for scope, names in self._users.names.items():
            known = self._known.names[scope]
            for user, statement in names.items():
                name = statement.value
                if known.get(user, name) != name or usernames.get(user) not in (None, name):
                    renamed.append((scope, user, statement))
        return renamed

    def _rename(self) -> None:
        """Writes names that may differ from those known, and of their users the newest."""
        renamed = self._renamed()
        if renamed:
            change_names(renamed, self._connection)
        users = {user for _, user, _ in renamed} | self._new_users().keys()
        self._add_names()
        self._write_users()
        write_newest_names(users, self._connection)

    def _add_names(self) -> bool:
        """Writes names of users in namespaces where they may have had none.

        Returns:
            Whether all are as the batch says: nobody else wrote another name of theirs.
        """
        named = [
            (path, user, statement)
            for path, names in self._users.names.items()
            for user, statement in names.items()
            if user not in self._known.names[path]
        ]
        if not named or add_names(named, self._connection) == len(named):
            return True
        self._known.read_names(self._users.names, self._connection)
        return not self._renamed()

    def _write_users(self) -> bool:
        """Writes who was active, and names of users who have none.

        Returns:
            Whether all names are as the batch says.
        """
        users = self._new_users()
        if not users:
            return True
        written = write_users(users.values(), self._connection)
        return all(users[number]["username"] in (None, username) for number, username in written.items())

    def _new_users(self) -> dict[int, dict[str, Any]]:
        """The users of whom `users` does not say yet what it is to say."""
        known = self._known
        return {
            number: {"id": number, "active_on": user.active_on, "username": user.name and user.name.value}
            for number, user in self._users.users.items()
            if known.active_on.get(number, date.min) < user.active_on
            or (user.name is not None and known.usernames.get(number) is None)
        }

    def _restate(self, changed: Set[Subject]) -> int:
        """Writes the times of what is known already, and returns how many rows of them wait."""
        restated = Restated()
        for subject, stated in self._stated.items():
            if subject not in changed:
                known = self._known.facts(subject)
                for (attribute, scope), statement in stated.items():
                    if statement.value == known[attribute, scope].value:
                        restated.add(subject, attribute, scope, statement)
        for scope, names in self._users.names.items():
            known_names = self._known.names[scope]
            for user, statement in names.items():
                if known_names.get(user) == statement.value:
                    restated.add_name(user, scope, statement)
        return restated.write(self._connection)


def remember(users: Users, known: KnownFacts) -> None:
    """Keeps in mind what was committed of users; what was changed is read again, for it has another version."""
    for scope, names in users.names.items():
        known_names = known.names[scope]
        for user, statement in names.items():
            known_names.setdefault(user, statement.value)
    for number, named in users.users.items():
        known.active_on[number] = max(named.active_on, known.active_on.get(number, date.min))
        if named.name is not None and known.usernames.get(number) is None:
            known.usernames[number] = named.name.value


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
