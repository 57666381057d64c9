"""Finds requests that were accepted and never consumed, in the logs of the ingest and of the consumer function."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

_CONSUMED = "consumed"


class AcceptedRequest(msgspec.Struct, frozen=True):
    """A request whose events were put on the queue.

    Attributes:
        request_id: id that its sender was told in the header `X-Request-Id`.
        tenant: root namespaces of the token, as in the metrics.
        events: number of accepted events.
    """

    request_id: str
    accepted_at: datetime
    tenant: str
    events: int


class Requests(msgspec.Struct):
    """What the logs say of requests.

    Attributes:
        accepted: accepted requests by id.
        consumed: ids of requests of which the consumer has processed a message.
    """

    accepted: dict[str, AcceptedRequest] = msgspec.field(default_factory=dict)
    consumed: set[str] = msgspec.field(default_factory=set)

    def read(self, lines: Iterable[str]) -> None:
        """Adds the lines of a log, in any order; others than JSON objects of the functions count for nothing.

        A line may begin with what a tool has put before the object, like a time.
        """
        for line in lines:
            start = line.find("{")
            if start == -1:
                continue
            try:
                entry = msgspec.json.decode(line[start:])
            except msgspec.DecodeError:
                continue
            self._add(entry)

    def lost(self) -> list[AcceptedRequest]:
        """Returns the requests that were accepted, and never consumed, oldest first."""
        found = (one for request_id, one in self.accepted.items() if request_id not in self.consumed)
        return sorted(found, key=lambda one: (one.accepted_at, one.request_id))

    def _add(self, entry: dict[str, Any]) -> None:
        if entry.get("message") == _CONSUMED:
            self.consumed.update(entry.get("requests", ()))
        elif "request_id" in entry and "AcceptedEvents" in entry:
            accepted_at = datetime.fromtimestamp(entry["_aws"]["Timestamp"] / 1000, UTC)
            tenant, events = entry.get("tenant", ""), int(entry["AcceptedEvents"])
            request_id = entry["request_id"]
            self.accepted[request_id] = AcceptedRequest(request_id, accepted_at, tenant, events)


def by_tenant(requests: Iterable[AcceptedRequest]) -> dict[str, tuple[int, int]]:
    """Returns the number of requests and of events of each tenant."""
    counts: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for one in requests:
        number, events = counts[one.tenant]
        counts[one.tenant] = number + 1, events + one.events
    return dict(sorted(counts.items()))
