from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.ingest.event.attributes import (
    BASE_KEYS,
    BaseAttributes,
    are_plain,
    attributes_of,
    content_of,
    contents_of,
)
from functions.ingest.event.event import AcceptanceRules, Event, acceptance_rules, read_attributes
from functions.ingest.event.location import NamespaceReference
from functions.ingest.message.batch import Batch
from functions.shared.catalog import registry
from functions.shared.grant import Grant
from functions.shared.identifier import derived_id
from functions.shared.rejection import Rejection
from tests.support.bad_events import BAD_EVENTS, chat
from tests.support.clock import NOW

RECEIVED_AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
REGISTRY = registry.load()
OWN_ID = "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44"


def read(event: bytes, grant: Grant | None = None, received_at: datetime = RECEIVED_AT) -> Event | None:
    batch = Batch("message", received_at, [], grant=grant)
    return read_whole(msgspec.Raw(event), 0, acceptance_rules(batch, REGISTRY, 3))


def read_whole(
    raw: msgspec.Raw,
    position: int,
    rules: AcceptanceRules,
    attributes: BaseAttributes | None = None,
    *,
    is_plain: bool = False,
) -> Event | None:
    """Reads an event, and checks that all of its content can be stored."""
    event = read_attributes(raw, position, rules, attributes)
    if not is_plain:
        content_of(raw)
    return event


def read_chat(grant: Grant | None = None, **attributes: Any) -> Event:
    event = read(chat(attributes), grant)
    assert event is not None
    return event


@pytest.mark.parametrize(("event", "code"), BAD_EVENTS, ids=lambda value: str(value)[:60])
def test_an_event_that_can_not_be_stored_is_rejected_with_its_reason(event: bytes, code: str) -> None:
    with pytest.raises(Rejection) as rejected:
        read(event, received_at=NOW)
    assert rejected.value.code == code
    assert 10 < len(rejected.value.message) < 400


@pytest.mark.parametrize(
    ("attributes", "timestamp"),
    [
        ({"timestamp": "2026-11-20T15:00:59.936Z"}, datetime(2026, 11, 20, 15, 0, 59, 936000, UTC)),
        ({"timestamp": "2026-08-24T12:00:00Z"}, datetime(2026, 8, 24, 12, tzinfo=UTC)),
        ({"additional_properties": {"timestamp": "2026-11-20"}}, datetime(2026, 11, 20, tzinfo=UTC)),
        (
            {"timestamp": "2026-11-21", "additional_properties": {"timestamp": "2026-11-20"}},
            datetime(2026, 11, 21, tzinfo=UTC),
        ),
        (
            {"id": str(derived_id(datetime(2026, 11, 19, tzinfo=UTC), "", 0))},
            datetime(2026, 11, 19, tzinfo=UTC),
        ),
        ({"id": OWN_ID}, RECEIVED_AT),
        ({"timestamp": None}, RECEIVED_AT),
        ({}, RECEIVED_AT),
    ],
)
def test_the_time_is_the_events_own_else_its_ids_else_that_of_arrival(
    attributes: dict[str, Any], timestamp: datetime
) -> None:
    assert read_chat(**attributes).timestamp == timestamp


def test_an_event_without_an_id_gets_the_one_of_its_place_in_the_message() -> None:
    assert read_chat().id == derived_id(RECEIVED_AT, "message", 0)
    assert read_chat(id=OWN_ID).id == UUID(OWN_ID)


def test_an_internal_event_that_no_definition_names_is_ignored() -> None:
    assert read(b'{"event": "elsewhere", "additional_properties": {}}') is None
    assert (
        read(b'{"event": "elsewhere", "additional_properties": {"timestamp": []}, "id": 5, "user_id": "u-1"}') is None
    )


OWN = Grant("5", ("events:write:own",), ("27/",))
OWN_EVERYWHERE = Grant("5", ("events:write:own",), ("*",))
ALL_USERS = Grant("5", ("events:write",), ("27/",))
WIDEST = Grant("5", ("events:write:own", "events:write"), ("*",))


@pytest.mark.parametrize(
    ("grant", "attributes", "code"),
    [
        (OWN, {"user_id": 5}, None),
        (OWN, {"user_id": None}, None),
        (OWN, {"user_id": 1}, "forbidden_user"),
        (OWN_EVERYWHERE, {"user_id": 5, "namespace_path": "3/"}, None),
        (OWN_EVERYWHERE, {"user_id": 1}, "forbidden_user"),
        (ALL_USERS, {"user_id": 1}, None),
        (WIDEST, {"user_id": 1, "namespace_path": "3/"}, None),
        (ALL_USERS, {"namespace_path": "27/28/"}, None),
        (ALL_USERS, {"namespace_path": "28/"}, "forbidden_namespace"),
        (ALL_USERS, {"namespace": {"path": "271/"}}, "forbidden_namespace"),
        (ALL_USERS, {"project": {"id": 4, "namespace": {"path": "28/"}}}, "forbidden_namespace"),
        (ALL_USERS, {"namespace_id": 28}, None),
        (Grant("robot", ("events:write",), ()), {"user_id": None}, "invalid_user"),
        (Grant("0", ("events:write",), ()), {"user_id": None}, "invalid_user"),
        (Grant("-1", ("events:write",), ()), {"user_id": None}, "invalid_user"),
        (Grant("²", ("events:write",), ()), {"user_id": None}, "invalid_user"),
        (Grant(str(2**63), ("events:write",), ()), {"user_id": None}, "invalid_user"),
        (Grant("9" * 5_000, ("events:write",), ()), {"user_id": None}, "invalid_user"),
        (Grant("0" * 5_000 + "5", ("events:write",), ()), {"user_id": None}, "invalid_user"),
        (Grant("9" * 5_000, ("events:write:own",), ()), {"user_id": 1}, "forbidden_user"),
    ],
)
def test_a_sender_may_send_what_its_grant_covers(grant: Grant, attributes: dict[str, Any], code: str | None) -> None:
    if code is None:
        assert read_chat(grant, **attributes).user_id == (attributes.get("user_id", 1) or 5)
        return
    with pytest.raises(Rejection) as rejected:
        read_chat(grant, **attributes)
    assert rejected.value.code == code


@pytest.mark.parametrize(
    ("attributes", "namespace"),
    [
        ({"namespace": {"path": "27/28/", "full_path": "a/b"}}, NamespaceReference(28, "27/28/", "a/b")),
        ({"namespace": {"path": "27/28/", "id": "28"}}, NamespaceReference(28, "27/28/")),
        ({"namespace_path": "27/28/"}, NamespaceReference(28, "27/28/")),
        ({"namespace_id": 28.0}, NamespaceReference(28)),
        ({"namespace": {"id": 28}, "namespace_path": "27/28/"}, NamespaceReference(28, "27/28/")),
        ({"namespace": None, "namespace_id": None, "namespace_path": None}, NamespaceReference()),
    ],
)
def test_a_namespace_is_named_in_several_ways(attributes: dict[str, Any], namespace: NamespaceReference) -> None:
    assert read_chat(**attributes).namespace == namespace


def test_the_context_has_everything_that_was_sent_and_plain_names_for_ids() -> None:
    event = read_chat(
        user={"id": 1, "username": "root"},
        user_id=None,
        project={"id": "4"},
        namespace={"path": "27/28/"},
        language="ruby",
        additional_properties={"language": "go", "label": "x", "user_id": 9, "timestamp": "2026-11-20"},
    )
    context = event.context()
    assert context.slice(
        "event", "user_id", "project_id", "namespace_id", "language", "label", "timestamp", "missing"
    ) == {
        "event": "request_duo_chat_response",
        "user_id": 1,
        "project_id": 4,
        "namespace_id": 28,
        "language": "ruby",
        "label": "x",
        "timestamp": "2026-11-20",
    }
    assert context["user"] == {"id": 1, "username": "root"}


ODD_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["1", "27/28/", OWN_ID, "2026-11-20", "0001-01-01T00:00:00+14:00", "9" * 5_000, "\0"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "path", "full_path", "username", "timestamp", "namespace"]), children)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(BASE_KEYS - {"event"})), ODD_VALUES))
def test_whatever_an_event_holds_it_is_taken_in_or_rejected(attributes: dict[str, Any]) -> None:
    try:
        event = read(chat(attributes), received_at=NOW)
    except Rejection:
        return
    assert event is not None
    assert event.context()["user_id"] > 0


ODD_EVENTS = st.dictionaries(st.sampled_from([*sorted(BASE_KEYS - {"event"}), "a", "b"]), ODD_VALUES).map(chat)
FINE_EVENTS = st.builds(
    lambda number, text: chat({"id": None, "namespace_path": f"27/{number}/", "a": text, "additional_properties": {}}),
    st.integers(1, 9),
    st.text(),
)
GOOD_AND_BAD_EVENTS = st.lists(
    FINE_EVENTS | ODD_EVENTS | st.sampled_from([bad for bad, _ in BAD_EVENTS if len(bad) < 10_000])
)


def outcome(read_one: Callable[[], tuple[Event | None, Any]]) -> Any:
    try:
        return read_one()
    except Rejection as rejection:
        return rejection.code, rejection.message


def is_json(text: msgspec.Raw) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


@given(GOOD_AND_BAD_EVENTS)
def test_many_events_read_at_once_are_what_they_are_one_by_one(texts: list[bytes]) -> None:
    raw = [msgspec.Raw(text) for text in texts]
    rules = acceptance_rules(Batch("message", NOW, raw), REGISTRY, 3)

    def alone(position: int) -> tuple[Event | None, Any]:
        event = read_whole(raw[position], position, rules)
        return event, event and event.context()

    def at_once(position: int) -> tuple[Event | None, Any]:
        event = read_attributes(raw[position], position, rules, attributes[position])
        return event, event and event.context(contents[position])

    def accepted(position: int) -> tuple[Event | None, Any]:
        event = read_whole(raw[position], position, rules, attributes[position], is_plain=plain[position])
        return event, event and event.context()

    attributes, contents = attributes_of(raw), contents_of(raw)
    plain = [is_json(text) and are_plain([text], b"[%b]" % text, len(text)) for text in raw]
    assert len(attributes) == len(contents) == len(raw)
    for position in range(len(raw)):
        expected = outcome(partial(alone, position))
        assert repr(outcome(partial(at_once, position))) == repr(expected)
        assert repr(outcome(partial(accepted, position))) == repr(expected)


def test_events_that_are_fine_are_read_at_once() -> None:
    raw = [msgspec.Raw(chat({"number": number})) for number in range(3)]
    assert None not in attributes_of(raw)
    assert [content and content["number"] for content in contents_of(raw)] == [0, 1, 2]


@pytest.mark.parametrize("text", [b"", b'{"event": "a"}, {"event": "b"}', b'{"event": "a"}], [{"event": "b"}', b"1, 2"])
def test_a_text_that_is_no_json_by_itself_is_none_among_others(text: bytes) -> None:
    assert attributes_of([msgspec.Raw(text)]) == contents_of([msgspec.Raw(text)]) == [None]


@given(st.dictionaries(st.sampled_from([*sorted(BASE_KEYS), "a", "b"]), st.none() | st.integers(-9, 9)))
def test_additional_properties_join_the_context_where_it_has_nothing_of_the_name(additional: dict[str, Any]) -> None:
    attributes: dict[str, Any] = {"a": 1, "b": None, "additional_properties": additional | {"timestamp": None}}
    context = read_chat(**attributes).context()
    own = {"event": "request_duo_chat_response", "user_id": 1, "a": 1}
    sent = {"additional_properties": attributes["additional_properties"]}
    assert context == {"b": None} | attributes["additional_properties"] | own | sent
