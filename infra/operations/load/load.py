"""Runs producers and a watch, and ends when everything accepted is shown, or when the time for that is over."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import httpx

from functions.shared.catalog.registry import Registry
from infra.operations.load.figures import Figures
from infra.operations.load.producer import Producer
from infra.operations.load.traffic import traffic
from infra.operations.load.watch import Watch

_LOOK_SECONDS = 0.25


class LoadError(Exception):
    """A producer stopped by an error of its own."""


@dataclass(frozen=True, slots=True)
class Load:
    """Steady traffic from several producers.

    Attributes:
        client: with the token of the producers.
        url: address of `/v1/events`.
        rate: events a second of all producers together.
        users: how many people the events are of.
        wait_seconds: time for what was accepted to be shown, after the last request.
    """

    client: httpx.Client
    url: str
    rate: float
    seconds: int
    producers: int
    users: int
    wait_seconds: float

    def run(self, registry: Registry, watch: Watch, progress: Callable[[float, Figures], None]) -> Figures:
        """Sends, watches and returns the figures.

        Args:
            progress: called several times a second with the seconds since the start.

        Raises:
            LoadError: a producer stopped by an error.
        """
        figures, stop = Figures(), Event()
        with ThreadPoolExecutor(self.producers) as executor:
            start = time.monotonic()
            try:
                running = [
                    executor.submit(self._producer(number, registry, figures, stop).run, start)
                    for number in range(self.producers)
                ]
                self._watch(running, watch, figures, lambda: progress(time.monotonic() - start, figures))
            finally:
                stop.set()
        for one in running:
            if error := one.exception():
                raise LoadError(f"A producer stopped: {error}") from error
        return figures

    def _producer(self, number: int, registry: Registry, figures: Figures, stop: Event) -> Producer:
        share, offset = self.rate / self.producers, number / self.producers
        events = traffic(registry, users=self.users, seed=1000 * number)
        return Producer(self.client, self.url, share, self.seconds, offset, events, figures, stop)

    def _watch(self, running: list[Future[None]], watch: Watch, figures: Figures, progress: Callable[[], None]) -> None:
        give_up = None
        while True:
            has_ended = all(one.done() for one in running)
            if has_ended and give_up is None:
                give_up = time.monotonic() + self.wait_seconds
            found = watch.look(figures.pending())
            figures.shown(time.monotonic(), found.shown, found.rejected)
            progress()
            if has_ended and (not figures.pending() or time.monotonic() > (give_up or 0)):
                return
            time.sleep(_LOOK_SECONDS)
