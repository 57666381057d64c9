"""Events of the usual form are accepted together, and alike those that are read one by one."""

import json
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.ingest import judge
from functions.ingest.contract import Answer
from functions.ingest.formats.body import split
from functions.ingest.intake import Intake
from functions.shared.catalog import registry
from functions.shared.grant import Grant
from functions.shared.rejection import Rejection
from functions.shared.timestamp import format_timestamp, months_before
from tests.support import fuzzed_bodies
from tests.support.clock import NOW

REGISTRY = registry.load()
RECEIVED_AT = NOW.replace(microsecond=0)
OLDEST = months_before(RECEIVED_AT, 3)
ROUNDED = f"{OLDEST - timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}.9999999Z"
GRANTS = (
    Grant("5", ("events:write",), ("*",)),
    Grant("5", ("events:write",), ("27/", "3/")),
    Grant("5", ("events:write:own",), ("*",)),
    Grant("5", ("events:write:own",), ("27/28/",)),
    Grant("5", ("events:write", "directory:write"), ("27/",)),
    Grant("5", ("events:write",), ()),
    Grant("client", ("events:write",), ("*",)),
)

SUGGESTION = {
    "event": "code_suggestion_shown_in_ide",
    "id": "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44",
    "timestamp": format_timestamp(NOW - timedelta(days=1)),
    "user": {"id": 5, "username": "root"},
    "namespace": {"path": "27/28/", "full_path": "gitlab-org/gitlab"},
    "project_id": 4,
    "additional_properties": {"language": "ruby", "suggestion_size": 3},
}

_usual: dict[str, st.SearchStrategy[Any]] = {
    "id": st.uuids().map(str),
    "timestamp": st.timedeltas(timedelta(0), timedelta(days=20)).map(lambda age: format_timestamp(NOW - age)),
    "user": st.fixed_dictionaries({"id": st.integers(4, 6)}, optional={"username": st.sampled_from(["root", "", "é"])}),
    "namespace": st.sampled_from([{"path": "27/28/", "full_path": "gitlab-org/gitlab"}, {"path": "27/"}, {"id": 28}]),
    "project_id": st.integers(1, 3),
    "additional_properties": st.just({"language": "ruby", "suggestion_size": 3}),
}
_unusual: dict[str, st.SearchStrategy[Any]] = {
    "event": st.sampled_from(["elsewhere", "code_suggestions_requested"]),
    "id": st.sampled_from([str(UUID(int=0)), str(UUID(int=2**128 - 1)), "5", None]),
    "timestamp": st.sampled_from(
        [
            format_timestamp(OLDEST),
            format_timestamp(OLDEST - timedelta(microseconds=1)),
            ROUNDED,
            format_timestamp(RECEIVED_AT + timedelta(days=1)),
            format_timestamp(RECEIVED_AT + timedelta(days=1, microseconds=1)),
            f"{NOW:%Y-%m-%d}",
            f"{NOW:%Y-%m-%d %H:%M:%S} UTC",
            f"{NOW - timedelta(days=9):%Y-%m-%dT%H:%M:%S}+02:00",
            f"{NOW:%Y-%m-%dT%H:%M:%S}",
            NOW.timestamp(),
            0,
            False,
            None,
        ]
    ),
    "user": st.sampled_from([{"id": "5"}, {"id": 0}, {"id": 2**63}, {"id": 5, "username": "é" * 501}, {}, None]),
    "user_id": st.sampled_from([5, 6, "5", 0, 2**63, None]),
    "namespace": st.sampled_from([{"path": "27/28"}, {"path": "3/"}, {"path": "27/", "id": 28}, {"id": "28"}, None]),
    "namespace_id": st.sampled_from([28, "28", 0, None]),
    "namespace_path": st.sampled_from(["27/28/", "4/", "", None]),
    "project": st.sampled_from([{"id": 1}, {"id": 1, "namespace": {"path": "3/"}}, {"id": 0}, {}, None]),
    "project_id": st.sampled_from(["1", 0, 2**63, 1.0, None]),
    "project_path": st.sampled_from(["gitlab-org/gitlab", "27/28/", None]),
    "additional_properties": st.sampled_from(
        [{"timestamp": format_timestamp(NOW)}, {"timestamp": "2026-11-20"}, {"language": "\0"}, {"value": 2**70}, None]
    ),
    "anything": fuzzed_bodies.json_values,
}
_ordinary_events = st.fixed_dictionaries(
    {"event": st.sampled_from(["code_suggestion_shown_in_ide", "troubleshoot_job"]), "user": _usual.pop("user")},
    optional=_usual,
)
_oddity = st.sampled_from(sorted(_unusual)).flatmap(lambda key: st.tuples(st.just(key), _unusual[key]))
_odd_events = st.builds(
    lambda event, oddities: event | dict(oddities), _ordinary_events, st.lists(_oddity, min_size=1, max_size=2)
)
_texts = (_odd_events | _odd_events | fuzzed_bodies.events).map(fuzzed_bodies.encoded) | fuzzed_bodies.odd_events
_arrays = st.builds(
    lambda many, times, some: b"[%b]" % b",".join([*map(fuzzed_bodies.encoded, many)] * times + some),
    st.lists(_ordinary_events, max_size=5),
    st.sampled_from([1, 1, 30]),
    st.lists(_texts, max_size=2),
)


def taken_in(body: bytes, grant: Grant, key: str | None = None) -> tuple[Answer, list[bytes]]:
    """Returns the answer to a body, and the messages on the queue."""
    sent: list[bytes] = []

    def send(bodies: Any, *, groups: Any) -> set[int]:
        sent.extend(bodies)
        return set()

    with patch("functions.ingest.intake.uuid4", return_value="request"):
        return Intake(REGISTRY, 3, send).take_in(split(body), grant, RECEIVED_AT, key), sent


@example(body=fuzzed_bodies.encoded([SUGGESTION | {"timestamp": ROUNDED}]), grant=GRANTS[0])
@given(body=_arrays, grant=st.sampled_from(GRANTS))
def test_events_read_together_are_answered_and_queued_as_those_read_one_by_one(body: bytes, grant: Grant) -> None:
    try:
        together = taken_in(body, grant)
    except Rejection:
        return
    with patch.object(judge, "ordinary_ids", return_value=None):
        assert together == taken_in(body, grant)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"id": None},
        {"id": None, "timestamp": None},
        {"timestamp": f"{NOW - timedelta(days=2):%Y-%m-%dT%H:%M:%S}+02:00"},
        {"user": None, "user_id": 5},
        {"namespace": None, "namespace_path": "27/28/"},
        {"project_id": None, "project": {"id": 4, "full_path": "gitlab-org/gitlab"}},
        {"additional_properties": None, "job": {"id": 1, "pipeline": {"id": 2}}},
    ],
    ids=lambda change: ",".join(change) or "all",
)
def test_events_of_the_usual_forms_are_not_read_one_by_one(change: dict[str, Any]) -> None:
    event = SUGGESTION | change
    body = json.dumps([event] * 250).encode()
    with patch.object(judge, "read_attributes", side_effect=AssertionError):
        answer, sent = taken_in(body, GRANTS[0])
    assert (answer.accepted, answer.rejected, len(set(answer.ids))) == (250, [], 250 if "id" in change else 1)
    queued = [bytes(raw) for message in sent for raw in msgspec.json.decode(message, type=_Message).events]
    assert queued == [json.dumps(event).encode()] * 250


class _Message(msgspec.Struct):
    """The events of a message."""

    events: list[msgspec.Raw]
