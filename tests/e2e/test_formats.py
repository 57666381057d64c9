"""Every format and envelope through the deployed stack, over HTTPS and the queue."""

import gzip
import itertools
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import httpx
import pytest

from tests.e2e.conftest import Stack
from tests.e2e.use import eventually, post, publish, rows
from tests.support.formats import (
    OBJECT_WRAPPINGS,
    QUEUE_WRAPPINGS,
    Format,
    Stored,
    as_it_is,
    binary,
    formats,
    gzip_in_base64,
    mixtures,
    singles,
)

type Formats = Callable[[int], dict[str, Format]]
type Packing = Callable[[bytes], bytes]

HTTPS_PACKINGS: Mapping[str, Packing] = {"plain": as_it_is, "gzip": gzip.compress, "gzip in base64": gzip_in_base64}

USERS = itertools.count(random.randrange(10**11, 10**12 - 10**4))  # whose numbers are all of one length


@dataclass(frozen=True, slots=True)
class Case:
    """A body with events of one user; the user's id finds the stored events."""

    user_id: int
    sent: Format
    pack: Packing

    @property
    def packed(self) -> bytes:
        return self.pack(self.sent.body)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe the body."""
        return self.sent.headers | ({"Content-Encoding": "gzip"} if self.pack is gzip.compress else {})


def cases(*tables: tuple[Formats, Mapping[str, Packing]]) -> dict[str, Case]:
    """Returns a case for each format and packing."""
    return {
        f"{name}, {packing}": Case(user_id := next(USERS), table(user_id)[name], pack)
        for table, packings in tables
        for name in table(0)
        for packing, pack in packings.items()
    }


BY_HTTPS = cases(*((table, HTTPS_PACKINGS) for table in (formats, singles, binary, mixtures)))
del BY_HTTPS["lines without a type, gzip"]  # which API Gateway unpacks, and MiniStack spoils as text
BY_QUEUE = cases((formats, QUEUE_WRAPPINGS), (singles, OBJECT_WRAPPINGS), (mixtures, QUEUE_WRAPPINGS))


@pytest.fixture(scope="module")
def answers(stack: Stack) -> dict[str, httpx.Response]:
    """Sends all cases both ways, waits until they are consumed, and returns the answers over HTTPS."""
    answers = {name: post(stack, case.packed, headers=case.headers) for name, case in BY_HTTPS.items()}
    publish(stack, *(case.packed for case in BY_QUEUE.values()))
    both = [*BY_HTTPS.values(), *BY_QUEUE.values()]
    count = "SELECT count(*) FROM ai_usage_events WHERE user_id = ANY(%s)"
    with suppress(AssertionError):  # the case's own test says what is missing
        eventually(
            lambda: rows(stack, count, [case.user_id for case in both]),
            [(sum(len(case.sent.stored) for case in both),)],
        )
    return answers


def stored(stack: Stack, case: Case) -> Stored:
    find = "SELECT user_id, event, namespace_path, payload FROM ai_usage_events WHERE user_id = %s ORDER BY event DESC"
    return rows(stack, find, case.user_id)


def rejected(stack: Stack, case: Case) -> list[str]:
    find = "SELECT code FROM rejected_events WHERE body LIKE %s ORDER BY code"
    return [code for (code,) in rows(stack, find, f"%{case.user_id}%")]


@pytest.mark.parametrize("name", BY_HTTPS)
def test_events_in_every_format_come_by_https(name: str, answers: dict[str, httpx.Response], stack: Stack) -> None:
    case, response = BY_HTTPS[name], answers[name]
    answer = response.json()
    assert response.status_code == (207 if case.sent.rejected else 202), answer
    assert (answer["accepted"], answer["ignored"]) == (len(case.sent.stored), case.sent.ignored)
    assert tuple(one["code"] for one in answer["rejected"]) == case.sent.rejected
    assert stored(stack, case) == case.sent.stored
    assert rejected(stack, case) == []  # what was answered is not kept


@pytest.mark.parametrize("name", BY_QUEUE)
@pytest.mark.usefixtures("answers")
def test_events_in_every_format_and_wrapping_come_by_the_queue(name: str, stack: Stack) -> None:
    case = BY_QUEUE[name]
    assert stored(stack, case) == case.sent.stored
    assert rejected(stack, case) == sorted(case.sent.rejected)
