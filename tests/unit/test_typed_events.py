"""The typed pass against the general way: the same row or rejection for every event."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from functions.ingest.directory.directory import BatchDirectory
from functions.ingest.directory.fact import Facts, Subject
from functions.ingest.directory.known_facts import KnownFacts
from functions.ingest.message.batch import Batch
from functions.ingest.outcome import Outcome
from functions.ingest.pipeline import Consumer
from functions.ingest.transform import Candidate, read_together, row_of, transform
from functions.ingest.typed_events import TypedEvents, TypedPayload
from functions.shared.catalog.registry import Registry, load
from functions.shared.grant import WRITE, WRITE_OWN, Grant
from functions.shared.postgres import Database, TimeLimits
from functions.shared.rejection import Rejection
from functions.shared.timestamp import format_timestamp
from tests.bench.events import events as usual_events
from tests.support.clock import NOW
from tests.support.definitions import write_package

DEFINITIONS = {
    "declared": """
from datetime import datetime
from definitions import Feature, Payload, source

class Part(Payload):
    a: int | None = None

class Declared(Payload):
    project_id: int | None = None
    text: str | None = None
    number: int | None = source("value")
    share: float | None = None
    flag: bool | None = source("flags", "on")
    size: int | None = source("job", "size")
    name: str | None = source("job", "pipeline", "name")

f = Feature("declared", owner="o", payload=Declared)
f.events(declared=1001)

class Required(Payload, rename="camel"):
    own_text: str
    job_size: int = source("job", "size")

g = Feature("required", owner="o", payload=Required)
g.events(required=1002)

class Odd(Payload):
    moment: datetime | None = None
    tags: list[str] | None = None
    part: Part | None = None

h = Feature("odd", owner="o", payload=Odd)
h.events(odd=1003)

class OfBase(Payload):
    sent_at: str | None = source("timestamp")
    namespace_id: int | None = None

i = Feature("of_base", owner="o", payload=OfBase)
i.events(of_base=1004)

j = Feature("empty", owner="o")
j.events(empty=1005)
j.deprecated_events(gone=1006)

class Project(Payload):
    project_id: int | None = source("job", "project_id")
    namespace: str | None = source("namespace", "full_path")

k = Feature("project", owner="o", payload=Project)
k.events(project=1007)
""",
    "computed": """
from definitions import Feature, Payload, source

class Computed(Payload):
    computed: str | None = None
    computed_value: int | None = source("value")

f = Feature("computed", owner="o", payload=Computed)

@f.events(computed=1010)
def computed(context):
    return {"computed": context.get("text"), "unknown": context.get("unknown"), "timestamp": context.get("moment")}
""",
}

NAMES = [
    "declared",
    "required",
    "odd",
    "of_base",
    "empty",
    "gone",
    "project",
    "computed",
    "unknown",
    "troubleshoot_job",
]
ID = "7b0c6fd4-3a44-4e8f-9d6e-2f1a54a0c001"
TEXTS = [
    *('"text"', '""', '"18"', '"true"', '"27/28/"', '"27/"', '"a/b"', f'"{ID}"', '"not an id"', '"2026-13-01"'),
    *(
        '"\\u0000"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\u001f"',
        '"tab\\t"',
        '"é"',
        '"quote\\""',
        '"back\\\\u0000"',
        '"\\q"',
    ),
    *("null", "true", "false", "0", "1", "18", "-1", "1.0", "1.5", "-0.0", "1e3", "1e22", "1e999", "1e-999"),
    *("9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616", "-9223372036854775809"),
    *("{}", "[]", "[1]", "[null]", "[[[]]]", '{"id": 5}', '{"id": "5", "username": "u"}', '{"path": "27/28/"}'),
    *('{"id": 28, "path": "27/28/", "full_path": "a/b"}', '{"id": 3, "full_path": "a/b", "namespace": {"id": 28}}'),
    *('{"size": 3, "pipeline": {"name": "n"}}', '{"size": "3", "pipeline": null}', '{"size": 3, "project_id": 9}'),
    *('{"size": 3, "pipeline": 4, "other": 1}', '{"on": true}', '{"on": 1, "on": false}', '{"a": 1, "b": "x"}'),
    *(f'"{format_timestamp(NOW)}"', f'"{NOW:%Y-%m-%d}"', f'"{NOW:%Y-%m-%dT%H:%M:%S}.9999999Z"', f"{NOW.timestamp()}"),
    *(
        f'"{NOW:%Y-%m-%dT%H:%M:%S}"',
        f'"{NOW:%Y-%m-%d %H:%M:%S} UTC"',
        f'"{NOW:%Y-%m-%dT%H:%M:%S}+02:00"',
        '"1999-01-01"',
    ),
    f'"{"x" * 17_000}"',
]
BAD_UTF_8 = b'"\xff"'
KEYS = [
    *("event", "id", "timestamp", "user", "user_id", "namespace", "namespace_id", "namespace_path", "project"),
    *("project_id", "project_path", "additional_properties", "text", "value", "share", "flags", "job", "unknown"),
    *("ownText", "own_text", "moment", "tags", "part", "computed", "key_text", "%2E", "specversion"),
]

values = st.one_of(
    st.sampled_from([*(text.encode() for text in TEXTS), BAD_UTF_8]),
    (st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text()).map(
        lambda value: json.dumps(value).encode()
    ),
)
FITTING = [
    *(
        ("text", b'"t"'),
        ("ownText", b'"t"'),
        ("value", b"18"),
        ("share", b"1.5"),
        ("share", b"2"),
        ("unknown", b"[{}]"),
    ),
    *(("flags", b'{"on": true}'), ("job", b'{"size": 3, "project_id": 9}'), ("job", b'{"pipeline": {"name": "n"}}')),
    *(("job", b"{}"), ("text", b"null"), ("project_id", b"7"), ("project", b'{"id": 7}'), ("text", b'"tab\\t"')),
    *(("id", f'"{ID}"'.encode()), ("text", b'"\\u001f"'), ("text", b'""'), ("namespace", b'{"path": "27/28/"}')),
]
"""Keys with values that the typed pass reads, at least beside others."""

members = st.lists(st.sampled_from(FITTING), max_size=5) | st.lists(
    st.sampled_from(FITTING) | st.tuples(st.sampled_from(KEYS), values), max_size=5
)


def text_of(keys: Sequence[tuple[str, bytes]]) -> bytes:
    return b"{%b}" % b", ".join(b'"%b": %b' % (key.encode(), value) for key, value in keys)


def with_additional(
    name: str, base: Sequence[tuple[str, bytes]], more: Sequence[tuple[str, bytes]], inner: Any
) -> bytes:
    within = [] if inner is None else [("additional_properties", text_of(inner))]
    return text_of([("event", b'"%b"' % name.encode()), *base, *within, *more])


usual = [("user_id", b"5"), ("timestamp", f'"{format_timestamp(NOW)}"'.encode()), ("namespace_path", b'"27/28/"')]
bases = st.sampled_from([usual, usual[:2], usual[1:], [], [*usual, ("job", b'{"size": 1}'), ("ownText", b'"t"')]])
events = st.builds(with_additional, st.sampled_from(NAMES), bases, members, st.none() | members)
grants = st.sampled_from(
    [
        None,
        Grant("5", (WRITE,), ("*",)),
        Grant("5", (WRITE,), ("27/",), "issuer"),
        Grant("5", (WRITE_OWN,), ("27/28/",)),
        Grant("name", (WRITE_OWN,), ()),
    ]
)


class GeneralWay(TypedEvents):
    """Makes no payload."""

    def payloads(self, events: Sequence[tuple[msgspec.Raw, int | None]]) -> Iterator[TypedPayload | None]:
        return (None for _ in events)


class NothingKnown(KnownFacts):
    """Facts of an empty directory, known without a database."""

    def facts(self, _: Subject) -> Facts:
        return {}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("definitions")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(folder)
        return load(write_package(folder, **DEFINITIONS).name)


@pytest.fixture(scope="module")
def consumers(registry: Registry) -> tuple[Consumer, Consumer]:
    typed, general = (Consumer(Database("", TimeLimits(1, 1)), registry, 3) for _ in range(2))
    general.typed = GeneralWay(registry)
    return typed, general


def results(consumer: Consumer, events: Sequence[bytes], grant: Grant | None) -> list[Any]:
    """What becomes of each event: a row with its payload decoded, or a rejected row, by index."""
    batch = Batch("batch", NOW, [msgspec.Raw(event) for event in events], grant=grant)
    reading = consumer.reading([batch])
    outcome = reading.outcome
    for _ in reading.steps(consumer.typed):
        pass
    rows = [row for candidate in reading.candidates for row in made(candidate, consumer, outcome)]
    return [*sorted([*rows, *map(repr, outcome.rejected)]), f"ignored {outcome.ignored}"]


def made(candidate: Candidate, consumer: Consumer, outcome: Outcome) -> Iterator[str]:
    read_together([candidate], consumer.typed)
    event("general way" if candidate.returned is None else "typed payload")
    try:
        transform(candidate, consumer.registry)
        row = row_of(candidate, BatchDirectory(NothingKnown()), 3)
    except Rejection as rejection:
        outcome.reject(candidate.event.raw, candidate.index, candidate.batch, rejection)
    else:
        payload = json.dumps(json.loads(row.payload), sort_keys=True)
        accepted = msgspec.structs.replace(candidate.event, raw=b"", type=candidate.event.type.name)
        yield repr((candidate.index, accepted, msgspec.structs.replace(row, payload=b""), payload))


@given(sent=st.lists(events, min_size=1, max_size=3), grant=grants)
def test_the_typed_pass_gives_the_same_rows_and_rejections_as_the_general_way(
    sent: list[bytes], grant: Grant | None, consumers: tuple[Consumer, Consumer]
) -> None:
    typed, general = consumers
    assert results(typed, sent, grant) == results(general, sent, grant)


def test_every_event_of_the_benchmark_has_a_typed_payload() -> None:
    sent = [(msgspec.Raw(msgspec.json.encode(one)), one.get("project_id")) for one in usual_events(200)]
    assert None not in list(TypedEvents(load()).payloads(sent))
