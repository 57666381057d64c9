"""Metrics of the requests that send events.

The tenant is a property of the line, not a dimension: CloudWatch charges for each metric and dimension value, and there
may be thousands of tenants. The log has the numbers of each tenant.
"""

from collections import Counter

from functions.ingest.contract import Answer
from functions.shared.metrics import Metric, emit
from functions.shared.tenant import logged_group

ACCEPTED_EVENTS = Metric(
    "AcceptedEvents",
    "Count",
    "Events accepted by HTTPS, and events published on the queue. The line has the tenant.",
)
ACCEPTED_BYTES = Metric("AcceptedBytes", "Bytes", "Bytes of the accepted events, unpacked. The line has the tenant.")
REQUEST_EVENTS = Metric("RequestEvents", "Count", "Events of a request, whatever became of them.")
IGNORED_EVENTS = Metric("IgnoredEvents", "Count", "Internal events that no definition names.")
REJECTED_EVENTS = Metric("RejectedEvents", "Count", "Rejected events, also by their `code`.")
REQUESTS = Metric("Requests", "Count", "Answered requests.")
REFUSED_REQUESTS = Metric("RefusedRequests", "Count", "Requests refused as a whole, also by their `reason`.")
UNAVAILABLE_ANSWERS = Metric("UnavailableAnswers", "Count", "Answers with the status 503: 1 or 0 for each request.")
LIMITED_REQUESTS = Metric(
    "LimitedRequests",
    "Count",
    "Requests refused because their tenant reached its limit: 1 or 0 for each. The line has the tenant.",
)
UNCOUNTED_EVENTS = Metric(
    "UncountedEvents",
    "Count",
    "Events that an instance counted for itself alone, because the counter that all instances share did not answer now "
    "or a moment before. An event that counts for a minute and for a day is counted twice.",
)
REQUEST_MILLISECONDS = Metric("RequestMilliseconds", "Milliseconds", "How long the function took for an answer.")

_UNAVAILABLE = 503


def count(tenant: str, events: int, size: int) -> None:
    """Counts the accepted events of one tenant; counts nothing if there are none.

    Args:
        tenant: name from `tenant_of`, or `QUEUE`.
        size: unpacked bytes of the events.
    """
    if events:
        emit({ACCEPTED_EVENTS: events, ACCEPTED_BYTES: size}, tenant=tenant)


def count_answer(answer: Answer, tenant: str, size: int, milliseconds: float, request_id: str) -> None:
    """Counts a request and its events.

    Args:
        tenant: name from `tenant_of`.
        size: unpacked bytes of the accepted events.
    """
    values: dict[Metric, float] = {
        REQUESTS: 1,
        UNAVAILABLE_ANSWERS: 0,
        REQUEST_MILLISECONDS: milliseconds,
        REQUEST_EVENTS: len(answer.ids),
        REJECTED_EVENTS: len(answer.rejected),
        REFUSED_REQUESTS: 0,
        LIMITED_REQUESTS: 0,
    }
    if answer.accepted:
        values |= {ACCEPTED_EVENTS: answer.accepted, ACCEPTED_BYTES: size}
    if answer.ignored:
        values[IGNORED_EVENTS] = answer.ignored
    emit(values, tenant=tenant, request_id=request_id)
    count_codes(Counter(one.code for one in answer.rejected))


def count_codes(codes: Counter[str]) -> None:
    """Counts rejected events, which were counted before, by their codes."""
    for code, events in codes.items():
        emit({REJECTED_EVENTS: events}, {"code": code}, only_by=True)


def count_refused(status: int, reason: str, milliseconds: float, request_id: str, group: str | None = None) -> None:
    """Counts a request that was refused as a whole.

    Args:
        group: the group of senders whose limit is reached, see `tenant_group`; None if that is not the reason.
    """
    values = {
        REQUESTS: 1,
        UNAVAILABLE_ANSWERS: int(status == _UNAVAILABLE),
        REQUEST_MILLISECONDS: milliseconds,
        REFUSED_REQUESTS: 1,
        LIMITED_REQUESTS: int(group is not None),
    }
    if group is None:
        emit(values, request_id=request_id)
    else:
        emit(values, tenant=logged_group(group), request_id=request_id)
    emit({REFUSED_REQUESTS: 1}, {"reason": reason}, only_by=True)


def count_uncounted(events: int) -> None:
    """Counts the events that were not added to the counter that all instances share."""
    if events:
        emit({UNCOUNTED_EVENTS: events})
