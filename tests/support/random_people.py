"""Random events of people: of use, of seats and of sessions."""

from datetime import datetime, time, timedelta
from random import Random
from typing import Any

from tests.support.clock import NOW
from tests.support.metrics_model import Event
from tests.support.random_events import PATHS, PROJECTS, TODAY, random_events, random_filters

SEAT_EVENTS = 80
SESSION_EVENTS = 150


def random_people(chance: Random) -> list[Event]:
    """Returns events of three months, at different moments."""
    midnight = datetime.combine(TODAY, time(), NOW.tzinfo)

    def moment() -> datetime:
        days = chance.choice([0, 1, 2, 6, 7, 8, 13, 14, 20, 27, 28, 31, 45, 60, 61])
        return midnight - timedelta(days=days) + timedelta(seconds=chance.randrange(86_400))

    def event(event_id: int, payload: dict[str, Any]) -> Event:
        user, path, project = chance.choice([1, 2, 3, 5, 8, 2**63 - 1]), chance.choice(PATHS), chance.choice(PROJECTS)
        return Event(moment(), event_id, user, path, project, payload)

    seats = [
        event(chance.choice([1001, 1001, 1002]), chance.choice([{"product": "duo_pro"}, {"product": "duo"}, {}]))
        for _ in range(SEAT_EVENTS)
    ]
    sessions = [
        event(
            chance.choice([8, 9, 19, 20, 21, 22]),
            {"session_id": chance.choice([1, 2, 3, 2**63 - 1, "1"]), "flow_type": chance.choice(["chat", "fix"])},
        )
        for _ in range(SESSION_EVENTS)
    ]
    made = [*random_events(chance), *seats, *sessions]
    chance.shuffle(made)
    return made


def random_people_filters(chance: Random) -> dict[str, Any]:
    """Returns arguments that select some of the events, of at most a month if by days."""
    filters = random_filters(chance)
    if chance.random() < 0.2:
        filters["payload"] = [{"path": "flow_type", "eq": "chat"}]
    return filters
