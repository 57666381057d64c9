"""A producer that sends what is due about once a second."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import batched, islice
from threading import Event
from typing import Any

import httpx
import msgspec

from functions.ingest.contract import Answer
from infra.operations.load.figures import Figures

EVENTS_A_REQUEST = 1000

# The request may have arrived. Sent again with the same ids, its events are stored once all the same.
_WITHOUT_AN_ANSWER = (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Producer:
    """Sends events over HTTPS at a steady rate.

    A producer whose requests take longer than a second sends more events in the next one.

    Attributes:
        url: address of `/v1/events`.
        rate: events a second of this producer.
        offset: seconds after the start of the run at which the producer begins, so that not all send at once.
        stop: ends the producer before its time.
    """

    client: httpx.Client
    url: str
    rate: float
    seconds: int
    offset: float
    events: Iterator[dict[str, Any]]
    figures: Figures
    stop: Event

    def run(self, start: float) -> None:
        """Sends until the seconds are over; `start` is the moment at which the run began."""
        sent, begin = 0, start + self.offset
        for second in range(self.seconds):
            if self.stop.wait(max(0, begin + second - time.monotonic())):
                return
            if time.monotonic() > start + self.seconds:
                self.figures.late(int(self.rate * self.seconds) - sent)
                return
            due = int(self.rate * (second + 1)) - sent
            sent += due
            for events in batched(islice(self.events, due), EVENTS_A_REQUEST, strict=False):
                self._send(second, events)

    def _send(self, second: int, events: tuple[dict[str, Any], ...]) -> None:
        begin = time.monotonic()
        try:
            response = self._answered(events)
        except httpx.HTTPError as error:
            self.figures.failed(second, len(events), type(error).__name__)
            return
        took = time.monotonic() - begin
        try:
            answer = msgspec.json.decode(response.content, type=Answer)
        except msgspec.DecodeError:
            self.figures.failed(second, len(events), f"status {response.status_code}")
            return
        ids = [identifier for identifier in answer.ids if identifier is not None]
        self.figures.answered(second, begin, took, ids, len(events) - len(ids))

    def _answered(self, events: tuple[dict[str, Any], ...]) -> httpx.Response:
        """Sends a request, and once more if it has no answer, as producers do.

        Raises:
            httpx.HTTPError: the API can't be reached, or did not answer twice.
        """
        try:
            return self.client.post(self.url, json=events)
        except _WITHOUT_AN_ANSWER as error:
            self.figures.sent_again(type(error).__name__)
            return self.client.post(self.url, json=events)
