"""Sends a canary event to the API, and asks GraphQL until the stores show it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from functions.canary.https import Unanswered, post
from functions.shared import canary
from functions.shared.identifier import new_id, time_of

_FIRST_PAUSE_SECONDS = 0.25
_MAX_PAUSE_SECONDS = 5
_PAUSES_GROW = 1.5


class Report(msgspec.Struct):
    """What became of a canary event.

    Attributes:
        id: id under which the event is stored; None if it was not accepted.
        postgresql_seconds: time from sending the event until GraphQL showed it from PostgreSQL; None if it did not.
        clickhouse_seconds: likewise from ClickHouse; None too if ClickHouse is off.
        failure: why a time is missing; empty if none is.
    """

    id: str | None = None
    postgresql_seconds: float | None = None
    clickhouse_seconds: float | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Canary:
    """Sends canary events to one API.

    Attributes:
        api_url: address of the API, without a slash at the end.
        token: returns a bearer token with the scope `canary`.
        post: posts content as JSON to an address with a token, and returns the answer; raises `Unanswered`.
        sleep: waits for some seconds.
        clock: seconds like `time.monotonic`.
    """

    api_url: str
    token: Callable[[], str]
    post: Callable[[str, Any, str], dict[str, Any]] = post
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def run(self, seconds: float) -> Report:
        """Sends one event, and waits for at most `seconds` until all stores show it."""
        start, report = self.clock(), Report()
        try:
            report.id = self._send()
        except Unanswered as error:
            report.failure = f"The event was not accepted: {error}"
            return report
        pause = _FIRST_PAUSE_SECONDS
        while True:
            report.failure = self._look(report, start)
            if not report.failure or self.clock() + pause > start + seconds:
                return report
            self.sleep(pause)
            pause = min(pause * _PAUSES_GROW, _MAX_PAUSE_SECONDS)

    def _send(self) -> str:
        """Sends an event, and returns the id under which it is stored.

        Raises:
            Unanswered: the API did not accept the event.
        """
        own_id = new_id(time.time_ns() // 1_000_000)
        event = {"event": canary.NAME, "id": own_id, "timestamp": time_of(own_id)}
        answer = self.post(f"{self.api_url}/v1/events", event, self.token())
        if answer.get("accepted") != 1:
            raise Unanswered(f"the answer was {msgspec.json.encode(answer).decode()[:300]}")
        return str(answer["ids"][0])

    def _look(self, report: Report, start: float) -> str:
        """Adds the times of the stores that show the event; returns what is amiss with the others."""
        query = {"query": canary.QUERY, "variables": {"id": report.id}}
        try:
            answer = self.post(f"{self.api_url}/graphql", query, self.token())
        except Unanswered as error:
            return f"GraphQL can't be asked: {error}"
        seconds, shown = round(self.clock() - start, 3), _shown(answer)
        if shown.get("postgresql") and report.postgresql_seconds is None:
            report.postgresql_seconds = seconds
        if shown.get("clickhouse") and report.clickhouse_seconds is None:
            report.clickhouse_seconds = seconds
        if answer.get("errors"):
            return f"GraphQL answered with an error: {answer['errors'][0].get('message')}"
        if report.postgresql_seconds is None:
            return "PostgreSQL did not show the event in time"
        is_off = "clickhouse" in shown and shown["clickhouse"] is None
        return "" if is_off or report.clickhouse_seconds is not None else "ClickHouse did not show the event in time"


def _shown(answer: dict[str, Any]) -> dict[str, Any]:
    return (answer.get("data") or {}).get("canaryEvent") or {}
