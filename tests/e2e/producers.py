"""Producers of events over HTTPS and the queue, which know the expected outcome of each event."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from functions.shared.identifier import derived_id
from functions.shared.timestamp import format_timestamp
from tests.e2e.conftest import Stack
from tests.e2e.use import post

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

USERS = 500
ERASED = 5
"""The first of the users are erased while the producers send."""
GROUPS = 8
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAYS = 45  # over which timestamps are spread: more than one partition, none too old
RETRY_AFTER_SECONDS = 0.5
GIVE_UP_SECONDS = 300
SHARE_WITHOUT = 0.3  # of the parcels: those where events lack an id, a timestamp or both
UNIQUE_BITS = 2**80 - 1  # of an id that is made of a time and a message; the time is known to the queue alone

type Content = dict[str, Any]


class Fate(StrEnum):
    """Expected outcome of an event."""

    STORED = "stored"  # or erased, if the user is
    REJECTED = "rejected"  # by the consumer, which alone sees what is wrong
    REFUSED = "refused"  # in the answer of HTTPS; on the queue it is rejected
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event.

    Attributes:
        content: makes the keys beside the base attributes from the event's number.
        code: code of the expected rejection.
    """

    weight: int
    content: Callable[[int], Content]
    fate: Fate = Fate.STORED
    code: str = ""


CHAT = "request_duo_chat_response"
SHOWN = "code_suggestion_shown_in_ide"
JOB = "troubleshoot_job"
KINDS = (
    Kind(20, lambda _: {"event": CHAT}),
    Kind(20, lambda number: {"event": SHOWN, "suggestion_size": number, "language": "ruby"}),
    Kind(20, lambda number: {"event": SHOWN, "additional_properties": {"suggestion_size": number}}),
    Kind(20, lambda number: {"event": JOB, "job": {"id": number, "project_id": 4, "pipeline": {"id": number}}}),
    Kind(8, lambda number: {"event": "agent_platform_session_started", "value": number, "label": "chat"}),
    Kind(2, lambda _: {"event": SHOWN, "suggestion_size": "many"}, Fate.REJECTED, "invalid_payload"),
    Kind(2, lambda number: {"event": JOB, "job": number}, Fate.REJECTED, "transformation_failed"),
    Kind(2, lambda _: {"event": "unheard_of"}, Fate.REFUSED, "unknown_event"),
    Kind(2, lambda _: {"event": CHAT, "id": "no uuid"}, Fate.REFUSED, "invalid_id"),
    Kind(2, lambda _: {"event": CHAT, "timestamp": "2001-02-03"}, Fate.REFUSED, "timestamp_out_of_range"),
    Kind(2, lambda _: {"event": "unheard_of", "additional_properties": {}}, Fate.IGNORED),
)
WEIGHTS = [kind.weight for kind in KINDS]


def group_ids(first_user: int) -> range:
    """Returns the ids of the groups in which the users' events lie."""
    return range(first_user * GROUPS, (first_user + 1) * GROUPS)


def first_place(first_user: int, group: int) -> dict[str, str]:
    """Returns what producers say of a group; it is out of date once the group has moved."""
    return {"path": f"{first_user}/{group}/", "full_path": f"soak-{group}"}


@dataclass(frozen=True, slots=True)
class Event:
    """An event as sent.

    Attributes:
        group: id of the group in which the event lies.
        is_erased: whether the event's user is erased, after the event was sent or before.
    """

    content: Content
    kind: Kind
    group: int
    is_erased: bool

    @property
    def id(self) -> UUID | None:
        """The stored id, if the event was sent with an id."""
        return UUID(self.content["id"]) if "id" in self.content else None

    @property
    def failure(self) -> tuple[str, str]:
        """The mark and the code by which the event's row in `rejected_events` is recognised."""
        return self.content["mark"], self.kind.code


@dataclass(frozen=True)
class Parcel:
    """Events that are sent together, always as the same bytes.

    Attributes:
        first_user: id of the first user of the events.
        number: the parcel's number among all parcels of the same users.
    """

    first_user: int
    number: int
    size: int

    @cached_property
    def events(self) -> list[Event]:
        chance = random.Random(f"{self.first_user}/{self.number}")
        lacks = (("id", "timestamp"), ("id",), ("timestamp",), ())
        weights = (1, 1, 1, 3) if chance.random() < SHARE_WITHOUT else (0, 0, 0, 1)
        yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        events = []
        for index, kind in enumerate(chance.choices(KINDS, WEIGHTS, k=self.size)):
            number, group = chance.randrange(USERS), chance.choice(group_ids(self.first_user))
            user_id = self.first_user + number
            attributes: Content = {
                "id": str(UUID(int=chance.getrandbits(128), version=4)),
                "timestamp": format_timestamp(yesterday - timedelta(seconds=chance.randrange(DAYS * 86400))),
                "user": {"id": user_id, "username": f"user-{user_id}"},
                "namespace": first_place(self.first_user, group),
                "mark": f"{self.first_user}-{self.number}-{index}",
            }
            for name in chance.choices(lacks, weights)[0]:
                del attributes[name]
            if "timestamp" not in attributes:  # what it states would be newer than the moves and names of before
                attributes |= {"user": {"id": user_id}, "namespace": {"id": group}}
            events.append(Event(attributes | kind.content(index), kind, group, number < ERASED))
        return events

    @cached_property
    def body(self) -> bytes:
        return json.dumps([event.content for event in self.events]).encode()

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the request. Every other request has an idempotency key, so that its events keep their ids."""
        return {"Idempotency-Key": f"{self.first_user}-{self.number}"} if self.number % 2 else {}


@dataclass(slots=True)
class Ledger:
    """A producer's record of the events that it sent. An event sent twice counts twice, but its id once.

    Attributes:
        ids: ids of the events that must be stored, each with the event's group.
        unique_parts: unique parts of the ids that the consumer makes for events that must be stored, likewise.
        erased: number of accepted events of users who are erased.
        accepted: number of events that must be stored.
        rejected: number of expected rows in `rejected_events`, by mark and code.
        failed: number of requests that failed or got no answer.
        perhaps_rejected: number of further rows if the failed requests were processed all the same.
        perhaps_stored: number of further ids for the same reason.
    """

    sends: int = 0
    events: int = 0
    ids: dict[UUID, int] = field(default_factory=dict)
    unique_parts: dict[int, int] = field(default_factory=dict)
    accepted: int = 0
    erased: int = 0
    refused: int = 0
    ignored: int = 0
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: int = 0
    perhaps_rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    perhaps_stored: int = 0

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(
            self.sends + other.sends,
            self.events + other.events,
            self.ids | other.ids,
            self.unique_parts | other.unique_parts,
            self.accepted + other.accepted,
            self.erased + other.erased,
            self.refused + other.refused,
            self.ignored + other.ignored,
            self.rejected + other.rejected,
            self.failed + other.failed,
            self.perhaps_rejected + other.perhaps_rejected,
            self.perhaps_stored + other.perhaps_stored,
        )


type Send = Callable[[Parcel, Ledger], None]
"""Sends a parcel, and notes what is to become of its events."""


def by_https(stack: Stack) -> Send:
    """Returns a function that sends over HTTPS, repeats failed requests, and checks the answers."""

    def send(parcel: Parcel, ledger: Ledger) -> None:
        answer = _answered(stack, parcel, ledger)
        refused = [(index, event) for index, event in enumerate(parcel.events) if event.kind.fate is Fate.REFUSED]
        assert [(one["index"], one["code"]) for one in answer["rejected"]] == [
            (index, event.kind.code) for index, event in refused
        ]
        ledger.refused += len(refused)
        for event, answered in zip(parcel.events, answer["ids"], strict=True):
            taken = event.kind.fate in (Fate.STORED, Fate.REJECTED)
            assert (answered is not None) == taken
            if taken and event.is_erased:
                ledger.erased += 1
            elif event.kind.fate is Fate.REJECTED:
                ledger.rejected[event.failure] += 1
            elif taken:
                assert event.id in (None, UUID(answered))
                ledger.ids[UUID(answered)] = event.group
                ledger.accepted += 1
        ledger.ignored += answer["ignored"]

    return send


def by_queue(stack: Stack, client: "SQSClient") -> Send:
    """Returns a function that publishes on the queue."""

    def send(parcel: Parcel, ledger: Ledger) -> None:
        message_id = client.send_message(QueueUrl=stack.queue_url, MessageBody=parcel.body.decode())["MessageId"]
        for position, event in enumerate(parcel.events):
            if event.kind.fate is Fate.IGNORED:
                ledger.ignored += 1
            elif event.is_erased:
                ledger.erased += 1
            elif event.kind.fate is not Fate.STORED:
                ledger.rejected[event.failure] += 1
            else:
                ledger.accepted += 1
                if event.id is not None:
                    ledger.ids[event.id] = event.group
                else:
                    ledger.unique_parts[unique_part(derived_id(EPOCH, message_id, position))] = event.group

    return send


def unique_part(identifier: UUID) -> int:
    """Returns the part of a derived id that does not depend on the time."""
    return identifier.int & UNIQUE_BITS


def _answered(stack: Stack, parcel: Parcel, ledger: Ledger) -> Any:
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while True:
        try:
            response = post(stack, parcel.body, headers=parcel.headers)
        except httpx.TransportError:
            assert time.monotonic() < give_up
        else:
            if response.status_code in (202, 207):
                return response.json()
            assert response.status_code >= 500, response.text
            assert time.monotonic() < give_up, response.text
        _note_failure(parcel, ledger)
        time.sleep(RETRY_AFTER_SECONDS)


def _note_failure(parcel: Parcel, ledger: Ledger) -> None:
    ledger.failed += 1
    ledger.perhaps_rejected.update(event.failure for event in parcel.events if event.kind.fate is Fate.REJECTED)
    if not parcel.headers:
        ledger.perhaps_stored += sum(event.kind.fate is Fate.STORED and event.id is None for event in parcel.events)


@dataclass(slots=True)
class Producer:
    """Sends events in parcels, and each tenth parcel twice, over HTTPS or the queue.

    Attributes:
        number: the producer's number among those of the same users.
        events: smallest number of events to send.
        largest: largest number of events in a parcel.
    """

    first_user: int
    number: int
    events: int
    largest: int
    send: Send
    other: Send
    ledger: Ledger = field(default_factory=Ledger)

    def run(self, pace: Callable[[], None], goes_on: Callable[[], bool]) -> None:
        """Sends all parcels, then more as long as `goes_on` returns true; calls `pace` before each parcel."""
        for parcel, send in self._sends(goes_on):
            pace()
            send(parcel, self.ledger)
            self.ledger.sends += 1
            self.ledger.events += len(parcel.events)

    def _sends(self, goes_on: Callable[[], bool]) -> Iterator[tuple[Parcel, Send]]:
        """Yields the parcels in order; a repeated parcel comes again at once, or after all others."""
        chance = random.Random(self.first_user + self.number)
        later = []
        left, number = self.events, 0
        while left or goes_on():
            size = min(left or self.largest, chance.randint(self.largest // 2, self.largest))
            parcel = Parcel(self.first_user, self.number * 10**6 + number, size)
            yield parcel, self.send
            left, number = max(0, left - size), number + 1
            if number % 10 == 0:
                again = parcel, chance.choice((self.send, self.other))
                if chance.random() < 0.5:
                    yield again
                else:
                    later.append(again)
        yield from later
