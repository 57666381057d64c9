"""Events that look like real use, for demonstrations: made from a seed, and sent on the queue like a producer's.

Use grows, rests at weekends, and differs between people: some try one feature, some use all, some lapse. The same seed
on the same day gives the same events with the same ids, so that sending them again stores nothing twice.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import batched
from random import Random
from typing import TYPE_CHECKING, Any

from functions.shared.catalog.registry import Registry
from functions.shared.identifier import derived_id
from functions.shared.timestamp import months_before

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

EVENTS_A_MESSAGE = 1000
FIRST_USER_ID = 9001

_PROJECTS = {"9001/9002/": 9102, "9001/9003/": 9103, "9001/9004/": 9104}
_GROUPS = {"9001/9002/": "demo/web", "9001/9003/": "demo/mobile", "9001/9004/": "demo/data"}
_LANGUAGES = ("python", "typescript", "go", "ruby", "kotlin", "sql")
_EDITORS = ("VS Code", "VS Code", "IntelliJ IDEA", "Neovim", "Visual Studio")
_MODELS = ("small", "large")
_FLOWS = ("chat", "chat", "software_development", "fix_pipeline", "code_review")
_SESSION_ENDS = ("finished", "finished", "finished", "finished", "dropped", "stopped")
_CODE_REVIEW_ENDS = (
    "post_comment_duo_code_review_on_diff",
    "find_no_issues_duo_code_review_after_review",
    "find_nothing_to_review_duo_code_review_on_mr",
    "encounter_duo_code_review_error_during_review",
)
_WEEKEND_SHARE = 0.12  # of a weekday's use
_YESTERDAYS_SHARE = 0.55  # use at the beginning of the period, of that at its end

type Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Person:
    """Somebody who uses the features from one day to another, a little or much."""

    id: int
    namespace: str
    first_day: date
    last_day: date
    eagerness: float
    language: str
    editor: str
    uses: frozenset[str]


def demo_events(
    registry: Registry, now: datetime, *, days: int, users: int, seed: int, retention_months: int
) -> Iterator[Event]:
    """Yields events of the days until now, oldest first, of those events that the definitions have.

    Args:
        days: at most; the ingest refuses what is older than the retention.
    """
    oldest = months_before(now, retention_months) + timedelta(hours=1)
    first_day = max(now.date() - timedelta(days=days - 1), (oldest + timedelta(days=1)).date())
    chance = Random(f"{seed} {now.date()}")  # noqa: S311 - chance that guards nothing
    people = [_person(chance, number, first_day, now.date()) for number in range(users)]
    known = {event.name for event in registry.events.values() if not event.deprecated}
    number = 0
    for event in _in_order(chance, people, first_day, now):
        if event["event"] in known:
            yield event | {
                "id": str(derived_id(event["timestamp"], f"demo data {seed}", number)),
                "timestamp": event["timestamp"].isoformat(),
            }
            number += 1


def send(
    events: Iterable[Event], sqs: "SQSClient", queue_url: str, progress: Callable[[int], None] = lambda _: None
) -> int:
    """Sends the events on the queue, and returns their number.

    Args:
        progress: called with the number of events sent so far.
    """
    sent = 0
    for batch in batched(events, EVENTS_A_MESSAGE, strict=False):
        sqs.send_message(QueueUrl=queue_url, MessageBody=json.dumps(batch))
        sent += len(batch)
        progress(sent)
    return sent


def _person(chance: Random, number: int, first_day: date, last_day: date) -> _Person:
    days = (last_day - first_day).days
    joined = first_day + timedelta(days=0 if chance.random() < 0.45 else int(days * chance.random() ** 1.3))
    lapses = chance.random() < 0.25
    stays = timedelta(days=chance.randint(3, 35)) if lapses else timedelta(days=days + 1)
    features = {"code": 0.85, "chat": 0.8, "agent": 0.45, "review": 0.4, "job": 0.25}
    return _Person(
        FIRST_USER_ID + number,
        chance.choice(list(_GROUPS)),
        joined,
        min(last_day, joined + stays),
        chance.lognormvariate(0, 0.6),
        chance.choice(_LANGUAGES),
        chance.choice(_EDITORS),
        frozenset(name for name, share in features.items() if chance.random() < share),
    )


def _in_order(chance: Random, people: list[_Person], first_day: date, now: datetime) -> Iterator[Event]:
    days = (now.date() - first_day).days + 1
    for place in range(days):
        day = first_day + timedelta(days=place)
        growth = _YESTERDAYS_SHARE + (1 - _YESTERDAYS_SHARE) * place / days
        share = growth * (_WEEKEND_SHARE if day.weekday() >= 5 else chance.uniform(0.85, 1.1))
        made = [event for person in people for event in _events_of_day(chance, person, day, share, now)]
        yield from sorted((event for event in made if event["timestamp"] <= now), key=lambda event: event["timestamp"])


def _events_of_day(chance: Random, person: _Person, day: date, share: float, now: datetime) -> Iterator[Event]:
    def at(moment: datetime, name: str, **context: Any) -> Event:
        return {
            "event": name,
            "timestamp": moment,
            "user": {"id": person.id, "username": f"demo-user-{person.id - FIRST_USER_ID + 1}"},
            "namespace": {"path": person.namespace, "full_path": _GROUPS[person.namespace]},
            **context,
        }

    morning = datetime.combine(day, time(8), now.tzinfo)

    def moment() -> datetime:
        return morning + timedelta(minutes=chance.triangular(0, 630, 200), microseconds=chance.randrange(10**6))

    if day == person.first_day:
        yield at(morning, "seat_assigned", product="ai")
    if day == person.last_day and day < now.date():
        yield at(morning + timedelta(hours=12), "seat_removed", product="ai")
    if not person.first_day <= day <= person.last_day or chance.random() > min(0.95, share * 0.8):
        return
    amount = person.eagerness * share
    if "code" in person.uses:
        yield from _suggestions(chance, person, at, moment, amount)
    if "chat" in person.uses:
        for _ in range(_count(chance, 3 * amount)):
            yield at(moment(), "request_duo_chat_response")
    if "agent" in person.uses:
        for _ in range(_count(chance, 1.5 * amount)):
            yield from _session(chance, person, at, moment())
    if "review" in person.uses:
        for _ in range(_count(chance, 0.8 * amount)):
            begun = moment()
            yield at(begun, "request_review_duo_code_review_on_mr_by_author")
            yield at(begun + timedelta(seconds=chance.uniform(20, 200)), chance.choice(_CODE_REVIEW_ENDS))
    if "job" in person.uses and chance.random() < 0.3 * amount:
        job = {
            "id": chance.randrange(10**6),
            "project_id": _PROJECTS[person.namespace],
            "pipeline": {"id": chance.randrange(10**5)},
        }
        yield at(moment(), "troubleshoot_job", job=job)


def _suggestions(
    chance: Random, person: _Person, at: Callable[..., Event], moment: Callable[[], datetime], amount: float
) -> Iterator[Event]:
    for _ in range(_count(chance, 12 * amount)):
        shown = moment()
        context = {
            "unique_tracking_id": f"{chance.getrandbits(64):016x}",
            "language": person.language if chance.random() < 0.8 else chance.choice(_LANGUAGES),
            "suggestion_size": 1 + int(chance.expovariate(0.25)),
            "ide_name": person.editor,
            "model_name": chance.choice(_MODELS),
        }
        yield at(shown, "code_suggestion_shown_in_ide", **context)
        if chance.random() < 0.31:
            name = "code_suggestion_accepted_in_ide"
        elif chance.random() < 0.6:
            name = "code_suggestion_rejected_in_ide"
        else:
            continue
        yield at(shown + timedelta(seconds=chance.uniform(1, 9)), name, **context)


def _session(chance: Random, person: _Person, at: Callable[..., Event], begun: datetime) -> Iterator[Event]:
    context: Mapping[str, Any] = {
        "project_id": _PROJECTS[person.namespace],
        "additional_properties": {
            "value": chance.randrange(1, 10**9),
            "label": chance.choice(_FLOWS),
            "property": "ide" if person.editor != "Neovim" else "web",
        },
    }
    seconds = chance.lognormvariate(4.5, 0.9)
    yield at(begun, "agent_platform_session_created", **context)
    yield at(begun + timedelta(seconds=2), "agent_platform_session_started", **context)
    if chance.random() < 0.1:
        yield at(begun + timedelta(seconds=seconds / 2), "agent_platform_session_resumed", **context)
    if chance.random() < 0.93:  # the others were abandoned
        end = f"agent_platform_session_{chance.choice(_SESSION_ENDS)}"
        yield at(begun + timedelta(seconds=2 + seconds), end, **context)


def _count(chance: Random, mean: float) -> int:
    """A number of things of which there are `mean` on average."""
    return int(chance.expovariate(1 / mean) + chance.random()) if mean > 0 else 0
