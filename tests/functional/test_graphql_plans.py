"""Pages that plans make, against graphql-core's own executor over the same events."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from graphql import GraphQLObjectType, execute_sync, parse, validate
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from functions.graphql.context import Info, RequestContext
from functions.graphql.handler import GraphqlHandler
from functions.graphql.postgres.directory import PostgresDirectory
from functions.graphql.query.budget import Deadline
from functions.graphql.query.path import read_path
from functions.graphql.query.selection import Selection
from functions.graphql.query.store import ID, EventRow, PageWindow, RequestedFields
from functions.graphql.schema import executable_schema
from functions.graphql.types.connection import ConnectionPage, Edge
from functions.graphql.types.event_columns import cursor_of
from functions.graphql.types.event_node import EventNode, event_node
from functions.shared.catalog.registry import Registry
from functions.shared.grant import EVERYTHING, READ, Grant
from tests.support.builds import BUILDS, DEPLOYMENTS
from tests.support.clock import NOW
from tests.support.definitions import answer_with, load_from
from tests.support.graphql import Insert, request

GRANT = Grant("1", (READ,), (EVERYTHING,))
PATHS = ("size", "machine.owner.team", "tags[0]", "steps[1].name", "refName", "nothing", "machine.cores", "grid[0]")
KEYS = ("size", "ratio", "done", "at", "ref_name", "refName", "tags", "grid", "times", "steps", "machine")
EVERYTHING_OF_EVENTS = RequestedFields(
    payload=True, paths=tuple(dict.fromkeys([*map(read_path, PATHS), *((key,) for key in KEYS)]))
)

PAYLOADS: list[dict[str, Any]] = [
    {},
    {"size": 2**63 - 1, "ratio": 0.5, "done": False, "at": "2026-11-20T15:00:59.936000Z", "ref_name": 'm"\\é\u2028'},
    {"size": 8.0, "ratio": 7, "done": True, "at": "2026-11-20", "tags": ["a", "é", None, 1], "refName": 5},
    {"size": "8", "ratio": "x", "done": 1, "at": 7, "ref_name": 8, "tags": "t", "refName": "text"},
    {
        "size": 2**64 - 1,
        "ratio": 1e308,
        "at": "no time",
        "grid": [[1, 2.0], [], "x", [None, 3.5]],
        "refName": 2**64 - 1,
    },
    {"times": ["2026-11-20T00:00:00Z", "x", 5], "steps": [{"name": "lint", "seconds": 1}, {"name": 7}, 8, None, {}]},
    {"machine": {"cores": 4, "owner": {"team": "x"}}, "size": None, "ratio": -0.0},
    {"machine": {"cores": "four", "owner": ["x"]}, "steps": {"name": "no list"}, "grid": [1]},
    {"machine": {"owner": {"team": None}}, "tags": [], "other": {"size": 1}},
]

PAYLOAD_FIELDS = ("payload", 'payload(paths: ["size", "machine.owner.team"])', "payload(paths: $paths)")
OF_EVERY_EVENT = ("id", "nodeId", "timestamp", "event", "namespacePath", "projectId", "__typename", *PAYLOAD_FIELDS)
LEAVES = {
    "AiUsageEvent": OF_EVERY_EVENT,
    "BuildEvent": (*OF_EVERY_EVENT, "size", "ratio", "done", "at", "refName", "tags", "grid", "times"),
    "DeploymentEvent": (*OF_EVERY_EVENT, "size", "number: refName"),
    "User": ("id", "nodeId", "username", "__typename"),
    "BuildEventMachine": ("cores", "__typename"),
    "BuildEventOwner": ("team", "__typename"),
    "BuildEventStep": ("name", "seconds", "__typename"),
    "PageInfo": ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor", "__typename"),
    **{f"{name}Connection": ("count", "__typename") for name in ("AiUsageEvent", "BuildEvent", "DeploymentEvent")},
    **{f"{name}Edge": ("cursor", "__typename") for name in ("AiUsageEvent", "BuildEvent", "DeploymentEvent")},
    "AiUsageData": ("__typename",),
}
INTERFACES = {"... on AiUsageEvent": "AiUsageEvent", "... on Node": "Node", "...": "AiUsageEvent"}
BRANCHES: dict[str, dict[str, str]] = {
    "AiUsageData": {
        "all(first: 4)": "AiUsageEventConnection",
        "all(last: 20, projectIds: [7, 8])": "AiUsageEventConnection",
        "all(userIds: [1, 2])": "AiUsageEventConnection",
        "buildsEvents": "BuildEventConnection",
        "deploymentsEvents(first: $first)": "DeploymentEventConnection",
    },
    "AiUsageEvent": {
        "user": "User",
        "... on BuildEvent": "BuildEvent",
        "... on DeploymentEvent": "DeploymentEvent",
        "...": "AiUsageEvent",
        "... on Node": "Node",
    },
    "Node": {"... on BuildEvent": "BuildEvent", "... on AiUsageEvent": "AiUsageEvent", "... on User": "User"},
    "BuildEvent": {
        "user": "User",
        "machine": "BuildEventMachine",
        "steps": "BuildEventStep",
        "... on AiUsageEvent": "AiUsageEvent",
        "...": "BuildEvent",
    },
    "DeploymentEvent": {"user": "User", "... on Node": "Node"},
    "User": {"... on Node": "Node"},
    "BuildEventMachine": {"owner": "BuildEventOwner", "... on BuildEventMachine": "BuildEventMachine"},
    "BuildEventOwner": {},
    "BuildEventStep": {},
    "PageInfo": {},
}
LEAVES["Node"] = ("id", "__typename")
for of in ("AiUsageEvent", "BuildEvent", "DeploymentEvent"):
    BRANCHES[f"{of}Connection"] = {"nodes": of, "edges": f"{of}Edge", "pageInfo": "PageInfo"}
    BRANCHES[f"{of}Edge"] = {"node": of}
DIRECTIVES = ("", "", "", " @include(if: $yes)", " @include(if: $no)", " @skip(if: $yes)", " @skip(if: false)")
FRAGMENTS = """
    fragment event on AiUsageEvent { id kind: __typename ...build ... on DeploymentEvent { number: refName } }
    fragment build on BuildEvent { size machine { owner { team } } machine { cores } ...build2 }
    fragment build2 on BuildEvent { user { name: username } user { id } steps { seconds } }
"""
QUERY = """
    query ($yes: Boolean! = true, $no: Boolean! = false, $first: Int, $paths: [String!]) {
        __typename @include(if: $no) @skip(if: $yes)
        aiInstanceUsageData { SELECTION }
        other: aiInstanceUsageData { all(first: $first) { nodes { ...event payload(paths: $paths) @skip(if: $yes) } } }
    }
"""


@st.composite
def selections(draw: st.DrawFn, type_name: str = "AiUsageData", depth: int = 5) -> str:
    """Draws a selection of the type's fields, some with aliases, with directives or in fragments."""
    chosen = draw(st.lists(st.sampled_from([*BRANCHES[type_name], *LEAVES[type_name]]), min_size=1, max_size=4))
    shown = []
    for name in chosen:
        below = BRANCHES[type_name].get(name)
        if below and not depth:
            continue
        # An alias for each spelling of a field, so that merged fields have the same arguments.
        alias = "" if name.startswith("...") or ":" in name.partition("(")[0] else draw(st.sampled_from(_aliases(name)))
        inner = f" {{ {draw(selections(below, depth - 1))} }}" if below else ""
        shown.append(f"{alias}{name}{draw(st.sampled_from(DIRECTIVES))}{inner}")
    return " ".join(shown) or "__typename"


def _aliases(name: str) -> list[str]:
    letters = "".join(character if character.isalnum() else "_" for character in name)
    return [f"{letters}: ", f"a_{letters}: "] if "(" in name else ["", "", f"a_{letters}: "]


class Reference:
    """Answers queries with graphql-core's executor, which resolves each field of each event.

    Attributes:
        events: everything of the stored events, as `node` finds them.
    """

    def __init__(self, registry: Registry, api: GraphqlHandler) -> None:
        self._api = api
        self._schema = executable_schema(registry)
        self.rows: dict[UUID, EventRow] = {}
        for name in ("AiUsageEvent", "BuildEvent", "DeploymentEvent"):
            connection = self._schema.type_map[f"{name}Connection"]
            assert isinstance(connection, GraphQLObjectType)
            connection.fields["nodes"].resolve = self._nodes
            connection.fields["edges"].resolve = self._edges

    def answer(self, query: str, variables: Mapping[str, Any]) -> Any:
        """The answer's data and errors, as JSON."""
        document = parse(query)
        assert validate(self._schema, document) == [], query
        result = execute_sync(
            self._schema,
            document,
            variable_values=dict(variables),
            context_value=self._context(),
            hide_suggestions=False,
        )
        return shown(msgspec.json.encode({"data": result.data, "errors": [e.formatted for e in result.errors or ()]}))

    def read(self) -> None:
        """Reads the stored events."""
        context = self._context()
        window = PageWindow(1000)
        selection = Selection(None, NOW - timedelta(days=30), NOW + timedelta(days=1), tuple(self._api.registry.by_id))
        self.rows = {row[ID]: row for row in context.events.events(selection, window, EVERYTHING_OF_EVENTS)}

    def _context(self) -> RequestContext:
        directory = PostgresDirectory(self._api.database, GRANT)
        return RequestContext(GRANT, self._api.registry, self._api.stores, directory, NOW.date(), deadline=Deadline(60))

    def _node(self, row: EventRow, info: Info) -> EventNode:
        return event_node(self.rows[row[ID]], EVERYTHING_OF_EVENTS, info)

    def _nodes(self, page: ConnectionPage[EventRow], info: Info) -> list[EventNode]:
        return [self._node(row, info) for row in page.nodes]

    def _edges(self, page: ConnectionPage[EventRow], info: Info) -> list[Edge[EventNode]]:
        return [Edge(self._node(row, info), cursor_of(row)) for row in page.nodes]


def shown(answer: bytes | str) -> str:
    """Data and errors of an answer, with the fields in their order."""
    found = json.loads(answer)
    return json.dumps([found["data"], found.get("errors", [])], indent=1)


@pytest.fixture
def registry(folder: Path) -> Registry:
    """Definitions with keys of every type."""
    return load_from(folder, builds=BUILDS, deployments=DEPLOYMENTS)


@pytest.fixture
def reference(
    registry: Registry, api: GraphqlHandler, bring: Callable[[], Any], insert: Insert, connection: psycopg.Connection
) -> Reference:
    """The reference, with events stored."""
    answer_with(registry, api)
    connection.execute("INSERT INTO users (id, username) VALUES (1, 'root'), (2, 'é\"')")
    for number, payload in enumerate(PAYLOADS * 2):
        moment = NOW - timedelta(hours=number // 2, microseconds=number % 2 * 936_000)
        path = None if number % 3 else "27/28/"
        project = None if number % 5 else 7
        insert(moment, 1 + number % 2, 1 + number % 3, path, project, **payload)
    bring()
    made = Reference(registry, api)
    made.read()
    return made


@pytest.mark.parametrize(
    "selection",
    [
        "all { nodes { ...event } edges { node { ...event } cursor } }",
        "all { nodes { id } a: nodes { payload } edges { node { id } node { event } } pageInfo { endCursor } }",
        "all { nodes { ... on BuildEvent { size } ... on DeploymentEvent { size number: refName } } }",
        "all { nodes { ... on BuildEvent { id } } }",
        'all { nodes { payload(paths: []) b: payload(paths: ["tags[0]"]) c: payload(paths: null) } }',
        "all { nodes { ... on Node { id ... on AiUsageEvent { user { ... on Node { id } username } } } } }",
        "all(first: 0) { nodes { id } edges { cursor } }",
        "all { __typename nodes @skip(if: $yes) { id } edges @include(if: $no) { cursor } }",
        "all { nodes { id @skip(if: $yes) } }",
        'all { nodes { payload(paths: ["size", "["]) } }',
        'buildsEvents { nodes { payload(paths: ["["]) @skip(if: $yes) } } deploymentsEvents { nodes { id } }',
    ],
)
def test_a_page_is_answered_as_graphql_core_does(selection: str, reference: Reference, api: GraphqlHandler) -> None:
    compare(selection, {"first": 3, "paths": ["size"]}, reference, api)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # queries change nothing
@given(
    selection=selections(),
    yes=st.booleans(),
    first=st.sampled_from([None, 0, 1, 5]),
    paths=st.one_of(st.none(), st.lists(st.sampled_from(PATHS), max_size=4)),
)
def test_any_selection_of_a_page_is_answered_as_graphql_core_does(
    selection: str, yes: bool, first: int | None, paths: list[str] | None, reference: Reference, api: GraphqlHandler
) -> None:
    compare(selection, {"yes": yes, "first": first, "paths": paths}, reference, api)


def compare(selection: str, variables: Mapping[str, Any], reference: Reference, api: GraphqlHandler) -> None:
    query = QUERY.replace("SELECTION", selection) + FRAGMENTS
    expected = reference.answer(query, variables)
    for _ in range(2):  # the second time by the plan that was kept
        _, answer = request(api, {"query": query, "variables": variables})
        assume("data" in answer or "are allowed" not in str(answer))  # over a limit of queries
        assert shown(json.dumps(answer)) == expected, query
