"""Moves groups, renames users and erases some while producers send their events."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from functions.shared.timestamp import format_timestamp
from tests.e2e.conftest import Stack
from tests.e2e.producers import CHAT, ERASED, USERS, first_place, group_ids
from tests.e2e.use import publish, usage_events

GIVE_UP_SECONDS = 300
RETRY_AFTER_SECONDS = 1


@dataclass
class ChangingWorld:
    """The groups and users of producers.

    Attributes:
        parents: path of the root, or id of the group, in which each group lies.
        usernames: newest name by id, of the users that were renamed.
        ids: ids of the events that state what changed.
    """

    stack: Stack
    first_user: int
    parents: dict[int, str | int] = field(default_factory=dict)
    usernames: dict[int, str] = field(default_factory=dict)
    ids: set[UUID] = field(default_factory=set)

    def state_groups(self) -> None:
        """Makes the groups known, so that events which only name the id of one are placed."""
        for group in group_ids(self.first_user):
            self.parents[group] = f"{self.first_user}/"
            self._state({"namespace": first_place(self.first_user, group)})

    def change(self, moves: int, renames: int, pause_seconds: float) -> None:
        """Moves and renames in random order, and erases the first users meanwhile, with a pause after each change."""
        changes: list[Callable[[], None]] = [self._move] * moves + [self._rename] * renames
        changes += [partial(self._erase, self.first_user + number) for number in range(ERASED)]
        random.shuffle(changes)
        for change in changes:
            change()
            time.sleep(pause_seconds)

    def erase_users(self) -> None:
        """Erases what came of the users after they were erased, because it was sent later."""
        for number in range(ERASED):
            self._erase(self.first_user + number)

    def _erase(self, user_id: int) -> None:
        """Erases a user; again if PostgreSQL is killed meanwhile."""
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                usage_events(self.stack, "user", "erase", str(user_id), "--yes")
            except AssertionError:
                assert time.monotonic() < give_up
                time.sleep(RETRY_AFTER_SECONDS)
            else:
                return

    def path_of(self, group: int) -> str:
        """Returns the newest path of a group."""
        parent = self.parents[group]
        above = self.path_of(parent) if isinstance(parent, int) else parent
        return f"{above}{group}/"

    def _move(self) -> None:
        """Moves a group to another root, or into another group that does not lie in it."""
        groups = group_ids(self.first_user)
        group = random.choice(groups)
        others = [other for other in groups if f"/{group}/" not in self.path_of(other)]
        parents: list[str | int] = [*others, f"{self.first_user + random.randrange(3)}/"]
        self.parents[group] = random.choice(parents)
        self._state({"namespace": {"path": self.path_of(group)}})

    def _rename(self) -> None:
        user_id = self.first_user + random.randrange(ERASED, USERS)
        self.usernames[user_id] = f"renamed-{len(self.usernames)}-{random.randrange(10**6)}"
        self._state({"user": {"id": user_id, "username": self.usernames[user_id]}})

    def _state(self, facts: dict[str, object]) -> None:
        """Publishes an event that states facts, of a user who is none of the producers' unless the facts name one."""
        event = {
            "event": CHAT,
            "id": str(uuid4()),
            "timestamp": format_timestamp(datetime.now(UTC)),
        }
        publish(self.stack, [event | {"user": {"id": self.first_user + USERS}} | facts])
        self.ids.add(UUID(event["id"]))
