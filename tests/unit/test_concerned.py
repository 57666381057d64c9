"""Whose a rejected body is, whatever is wrong with it."""

import json
from typing import Any

import pytest

from functions.ingest.event.concerned import Concerned, concerned_by
from functions.shared.grant import Grant

OWN = Grant("5", ("events:write:own",), ("27/",))
WIDE = Grant("a-service", ("events:write",), ("27/", "30/"))


def users(body: Any, grant: Grant | None = None) -> list[set[int]]:
    text = body if isinstance(body, str) else json.dumps(body)
    return [set(one.user_ids) for one in concerned_by(text, grant)]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"user_id": 5}, {5}),
        ({"user_id": "5"}, {5}),
        ({"user_id": 5.0}, {5}),
        ({"user": {"id": 5}, "namespace": 7}, {5}),
        ({"user": {"id": 5}, "user_id": 6}, {5, 6}),
        ({"user": {"id": "five"}}, set()),
        ({"user": "5", "user_id": True}, set()),
        ({"user_id": 2**63}, set()),
        ({"user_id": "-5"}, set()),
        ({"specversion": "0.3", "data": {"user": {"id": 5}}}, {5}),
        ({"specversion": "0.3", "subject": "5"}, {5}),
        ({}, set()),
    ],
)
def test_the_user_of_an_event_is_found_whatever_else_is_wrong(event: Any, expected: set[int]) -> None:
    assert users(event) == [expected]


def test_an_event_that_names_no_user_is_its_senders() -> None:
    assert users({"event": "a"}, OWN) == [{5}]
    assert users({"event": "a", "user": {"id": None}}, OWN) == [{5}]
    assert users({"event": "a", "user_id": 6}, OWN) == [{6}]
    assert users({"event": "a", "user_id": "nobody"}, OWN) == [set()]
    assert users({"event": "a"}, WIDE) == [set()]
    assert users("{not JSON", OWN) == [{5}]


@pytest.mark.parametrize(
    "text",
    [
        '{"event": "a", "user_id": 5, "x": }',
        '{"event": "a", "user": {"username": "x", "id": 5}',
        '{"user": {"id":"5"}, "text": "\x01"',
    ],
)
def test_a_text_that_is_not_json_is_searched_for_users(text: str) -> None:
    assert users(text) == [{5}]
    assert users(text, WIDE) == [{5}]


def test_a_message_concerns_everybody_whom_its_events_name() -> None:
    assert users([{"user_id": 5}, {"user_id": 6}]) == [{5}, {6}]
    assert sorted(map(min, users('[{"user_id": 5}, {"user_id": 6}, '))) == [5, 6]
    assert users("{") == [set()]


@pytest.mark.parametrize(
    ("event", "is_within"),
    [
        ({"namespace": {"path": "27/28/"}}, True),
        ({"namespace_path": "27/"}, True),
        ({"namespace_path": "271/"}, False),
        ({"namespace": {"path": "30/", "id": 28}}, False),
        ({"namespace_id": 28}, True),
        ({"project": {"id": 4}}, True),
        ({"project_id": "4"}, True),
        ({"project": {"id": 9, "namespace": {"path": "27/28/"}}}, True),
        ({"project": {"id": 9, "namespace": {"id": 28}}}, True),
        ({"project": {"id": 9}}, False),
        ({"namespace": {"full_path": "acme"}}, False),
        ({}, False),
    ],
)
def test_an_event_lies_within_a_namespace_by_its_path_or_else_by_ids(event: Any, is_within: bool) -> None:
    (concerned,) = concerned_by(json.dumps(event), None)
    assert concerned.lies_within("27/", {27, 28}, {4}) is is_within


def test_an_event_that_names_no_place_lies_within_its_senders_only_namespace() -> None:
    assert concerned_by("{}", OWN) == [Concerned(frozenset({5}), frozenset({"27/"}))]
    assert concerned_by("{}", WIDE) == [Concerned()]
