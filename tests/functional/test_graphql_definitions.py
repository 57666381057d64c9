from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from functions.graphql.handler import GraphqlHandler
from tests.support.definitions import answer_with, load_from
from tests.support.graphql import Insert, ask, request

if TYPE_CHECKING:
    from functions.graphql.store_router import StoreRouter

BUILDS = '''
from datetime import datetime


class Machine(Payload):
    """Where a build ran."""

    cores: int | None = None  # that it could use
    name: str | None = None


class Build(Payload):
    """What a build was like."""

    size: int  # in bytes
    seconds: float | None = None
    branch: str | None = None
    machine: Machine | None = None
    steps: list[Machine] | None = None
    at: datetime | None = None


feature = Feature("builds", owner="runner", payload=Build, field="ciBuilds")


@feature.events(
    build_finished=1,  # a build came to its end
    build_failed=2,
)
def build(context):
    """A build."""
    return context.slice(*Build.fields())


feature.deprecated_events(build_started=3)


@feature.resolver("buildFigures", returns="JSON!")
def summary(query):
    """How builds
    went."""
    return {
        "count": query.count(),
        "failed": query.count("build_failed"),
        "two": query.count("build_failed", "build_started"),
        "users": query.users(),
        "usersOfFailed": query.users("build_failed"),
        "bytes": query.sum("size"),
        "bytesOfFailed": query.sum("size", "build_failed"),
        "seconds": query.sum("seconds"),
        "cores": query.distinct("machine.cores"),
        "branches": query.distinct("branch"),
        "branchesOfFailed": query.distinct("branch", "build_failed"),
    }


@feature.resolver("buildBranches", returns="[String!]")
def branches(query):
    return query.distinct("branch") or None


@feature.resolver("brokenByName", returns="Int")
def broken_by_name(query):
    return query.count("no_such_event")


@feature.resolver("brokenByItself", returns="Int!")
def broken_by_itself(query):
    raise RuntimeError("SECRET_INSIDE")


@feature.resolver("brokenByExit", returns="Int")
def broken_by_exit(usage):
    raise SystemExit("SECRET_INSIDE")


@feature.resolver("brokenByText", returns="Int")
def broken_by_text(query):
    return "SECRET_INSIDE"


@feature.resolver("brokenByLong", returns="Long")
def broken_by_long(query):
    return "SECRET_INSIDE"


@feature.resolver("brokenByObject", returns="JSON")
def broken_by_object(query):
    return object()


@feature.resolver("brokenByHalf", returns="String")
def broken_by_half(query):
    return "\\ud800"


@feature.resolver("brokenByPath", returns="Float")
def broken_by_path(query):
    return query.sum("sise")


@feature.resolver("brokenByKind", returns="Float")
def broken_by_kind(query):
    return query.sum("branch")


@feature.resolver("brokenByNothing", returns="Int!")
def broken_by_nothing(query):
    return None
'''
NOTHING: dict[str, Any] = {
    "count": 0,
    "failed": 0,
    "two": 0,
    "users": 0,
    "usersOfFailed": 0,
    "bytes": 0,
    "bytesOfFailed": 0,
    "seconds": 0.0,
    "cores": [],
    "branches": [],
    "branchesOfFailed": [],
}
UNKNOWN = 300  # the id of no event


@pytest.fixture
def builds(either: GraphqlHandler, folder: Path) -> GraphqlHandler:
    """Returns a function that builds the API with only this module's definition."""
    answer_with(load_from(folder, builds=BUILDS), either)
    return either


@pytest.fixture
def stored(insert: Insert) -> None:
    machine = {"cores": 4, "name": "m"}
    insert(event=1, user_id=1, path="27/28/", size=10, seconds=0.5, branch="main", machine=machine)
    insert(event=1, user_id=2, path="27/28/", size=5, branch="a", machine={"cores": 2})
    insert(event=2, user_id=2, path="27/28/", size=7, seconds=1, branch="b")
    insert(event=3, user_id=3, path="27/29/", size="unknown", branch=1, machine={"cores": 64})
    insert(event=UNKNOWN, user_id=9, path="27/28/", size=1_000, branch="unknown")


FIGURES = [
    (
        "",
        ["*"],
        {
            "count": 4,
            "failed": 1,
            "two": 2,
            "users": 3,
            "usersOfFailed": 1,
            "bytes": 22,
            "bytesOfFailed": 7,
            "seconds": 1.5,
            "cores": [2, 4, 64],
            "branches": ["a", "b", "main"],
            "branchesOfFailed": ["b"],
        },
    ),
    (
        "(events: [BUILD_FINISHED])",
        ["*"],
        NOTHING | {"count": 2, "users": 2, "bytes": 15, "seconds": 0.5, "cores": [2, 4], "branches": ["a", "main"]},
    ),
    (
        '(userIds: [2, 3], payload: [{path: "machine.cores", gte: 2}])',
        ["27/28/"],
        NOTHING | {"count": 1, "users": 1, "bytes": 5, "cores": [2], "branches": ["a"]},
    ),
    (
        '(startDate: "2026-01-01", endDate: "2026-01-02")',
        ["*"],
        NOTHING,
    ),
    ("(features: [])", ["*"], NOTHING),
    ("", ["27/281/"], NOTHING),
    ("", ["27/28"], NOTHING),
]


@pytest.mark.parametrize(("filters", "namespaces", "expected"), FIGURES)
@pytest.mark.usefixtures("stored")
def test_a_teams_own_field_counts_only_events_that_are_selected_and_readable(
    filters: str, namespaces: list[str], expected: dict[str, Any], builds: GraphqlHandler
) -> None:
    answer = ask(builds, f"{{ aiInstanceUsageData {{ buildFigures{filters} }} }}", *namespaces)
    assert answer["aiInstanceUsageData"]["buildFigures"] == expected


@pytest.mark.usefixtures("stored")
def test_a_field_of_a_teams_own_is_there_in_a_namespace_too(builds: GraphqlHandler) -> None:
    query = '{ namespace(fullPath: "27/29/") { aiUsageData { buildBranches } } }'
    assert ask(builds, query)["namespace"]["aiUsageData"]["buildBranches"] is None
    assert ask(builds, query.replace("29", "28"))["namespace"]["aiUsageData"]["buildBranches"] == ["a", "b", "main"]
    of_project = query.replace("29", "28").replace("buildBranches", 'buildBranches(projectIds: ["4"])')
    assert ask(builds, of_project)["namespace"]["aiUsageData"]["buildBranches"] is None


BROKEN = [
    f"brokenBy{what}"
    for what in ("Name", "Itself", "Exit", "Nothing", "Text", "Long", "Object", "Half", "Path", "Kind")
]


@pytest.mark.parametrize("store_name", ["postgresql"])
@pytest.mark.parametrize("field", BROKEN)
def test_what_goes_wrong_in_a_field_of_a_teams_own_is_in_the_log_alone(
    field: str, builds: GraphqlHandler, caplog: pytest.LogCaptureFixture
) -> None:
    _, answer = request(builds, {"query": f"{{ aiInstanceUsageData {{ {field} }} eventDefinitions {{ id }} }}"})
    (error,) = answer["errors"]
    said, _, error_id = error["message"].removesuffix(".").rpartition(" ")
    assert said == "Something went wrong on our side; the log knows it as"
    assert error["path"] == ["aiInstanceUsageData", field]
    (logged,) = [record for record in caplog.records if getattr(record, "error_id", None) == error_id]
    assert logged.exc_info


@pytest.mark.usefixtures("stored")
def test_an_event_that_no_definition_names_is_nowhere(builds: GraphqlHandler) -> None:
    query = """{
        aiInstanceUsageData {
            all { count nodes { payload } }
            ciBuilds { count nodes { size } }
            byUser: all(userIds: [9]) { count nodes { id } }
        }
        aiInstanceMetrics { totalEventCount usersCount featuresCount builds { totalEventCount contributorsCount } }
        aiInstanceUserMetrics { count nodes { user { id } } }
        aiInstanceUsage(groupBy: [EVENT]) { event totalCount usersCount }
        whole: aiInstanceUsage { totalCount usersCount }
    }"""
    answer = ask(builds, query)
    data = answer["aiInstanceUsageData"]
    assert data["all"]["count"] == data["ciBuilds"]["count"] == len(data["all"]["nodes"]) == 4
    assert sorted(str(node["size"]) for node in data["ciBuilds"]["nodes"]) == ["10", "5", "7", "None"]
    assert data["byUser"] == {"count": 0, "nodes": []}
    assert answer["aiInstanceMetrics"] == {
        "totalEventCount": 4,
        "usersCount": 3,
        "featuresCount": 1,
        "builds": {"totalEventCount": 4, "contributorsCount": 3},
    }
    assert answer["aiInstanceUserMetrics"]["count"] == 3
    assert {node["user"]["id"] for node in answer["aiInstanceUserMetrics"]["nodes"]} == {"1", "2", "3"}
    assert answer["aiInstanceUsage"] == [
        {"event": "BUILD_FINISHED", "totalCount": 2, "usersCount": 2},
        {"event": "BUILD_FAILED", "totalCount": 1, "usersCount": 1},
        {"event": "BUILD_STARTED", "totalCount": 1, "usersCount": 1},
    ]
    assert answer["whole"] == [{"totalCount": 4, "usersCount": 3}]


FILTERED: list[tuple[str, list[int | None]]] = [
    ("events: [BUILD_FAILED]", [7]),
    ('payload: [{path: "machine.cores", gt: 2}]', [10, None]),
    ('payload: [{path: "machine.cores", gt: 2}, {path: "branch", eq: "main"}]', [10]),
    ('events: [BUILD_FINISHED], payload: [{path: "size", lt: 10}], userIds: [2]', [5]),
    ('events: [BUILD_FAILED], payload: [{path: "size", lt: 7}]', []),
    ("features: [BUILDS], events: [BUILD_STARTED, BUILD_FAILED]", [7, None]),
    ("features: []", []),
    ('payload: [{path: "at", exists: false}]', [5, 7, 10, None]),
]


@pytest.mark.usefixtures("stored")
def test_the_filters_of_a_typed_field_all_hold(builds: GraphqlHandler) -> None:
    for filters, sizes in FILTERED:
        query = f"{{ aiInstanceUsageData {{ ciBuilds({filters}) {{ nodes {{ size }} count }} }} }}"
        found = ask(builds, query)["aiInstanceUsageData"]["ciBuilds"]
        assert found["count"] == len(sizes), filters
        assert {node["size"] for node in found["nodes"]} == set(sizes), filters


TYPES = """
    query {
        build: __type(name: "BuildEvent") {
            description
            interfaces { name }
            fields { name description type { name kind ofType { name } } }
        }
        machine: __type(name: "BuildEventMachine") { description fields { name description } }
        data: __type(name: "AiUsageData") { fields { name description type { name ofType { name } } args { name } } }
        events: __type(name: "AiUsageEventType") {
            enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
        }
        features: __type(name: "AiUsageFeature") { enumValues { name description } }
    }
"""


@pytest.mark.parametrize("store_name", ["postgresql"])
def test_the_schema_says_what_the_definition_does(builds: GraphqlHandler) -> None:
    answer = ask(builds, TYPES)
    assert answer["build"]["description"] == "What a build was like."
    assert answer["build"]["interfaces"] == [{"name": "AiUsageEvent"}, {"name": "Node"}]
    fields = {field["name"]: field for field in answer["build"]["fields"]}
    own = ["size", "seconds", "branch", "machine", "steps", "at"]
    of_every_event = ["id", "nodeId", "timestamp", "event", "user", "namespacePath", "projectId", "payload", "extras"]
    assert list(fields) == [*of_every_event, *own]
    assert fields["size"]["description"] == "in bytes"
    kinds = {name: fields[name]["type"]["name"] or fields[name]["type"]["ofType"]["name"] for name in own}
    assert kinds == {
        "size": "Long",
        "seconds": "Float",
        "branch": "String",
        "machine": "BuildEventMachine",
        "steps": "BuildEventMachine",
        "at": "Time",
    }
    assert "NON_NULL" not in {fields[name]["type"]["kind"] for name in own}
    assert answer["machine"] == {
        "description": "Where a build ran.",
        "fields": [
            {"name": "cores", "description": "that it could use"},
            {"name": "name", "description": "The payload's `name`."},
        ],
    }
    data = {field["name"]: field for field in answer["data"]["fields"]}
    assert list(data)[:5] == ["id", "all", "ciBuilds", "buildFigures", "buildBranches"]
    assert data["ciBuilds"]["type"]["ofType"]["name"] == "BuildEventConnection"
    assert data["buildFigures"]["description"] == "How builds\nwent."
    filters = ["startDate", "endDate", "events", "features", "not", "userIds", "projectIds", "payload"]
    assert [argument["name"] for argument in data["buildFigures"]["args"]] == filters
    pages = ["first", "after", "last", "before"]
    assert [argument["name"] for argument in data["ciBuilds"]["args"]] == [*filters, *pages]
    reason = "No longer accepted; old events can still be read."
    assert answer["events"]["enumValues"] == [
        {
            "name": "BUILD_FINISHED",
            "description": "a build came to its end Id 1, owned by runner.",
            "isDeprecated": False,
            "deprecationReason": None,
        },
        {
            "name": "BUILD_FAILED",
            "description": "A team's events. Id 2, owned by runner.",
            "isDeprecated": False,
            "deprecationReason": None,
        },
        {
            "name": "BUILD_STARTED",
            "description": "A team's events. Id 3, owned by runner.",
            "isDeprecated": True,
            "deprecationReason": reason,
        },
    ]
    assert answer["features"]["enumValues"] == [{"name": "BUILDS", "description": "A team's events."}]


DEFINITIONS = """{
    eventDefinitions { id name feature owner deprecated description payload { name type description } }
}"""


@pytest.mark.parametrize("store_name", ["postgresql"])
def test_metric_definitions_name_kind_unit_and_description(builds: GraphqlHandler, folder: Path) -> None:
    text = """
        class Build(Payload):
            milliseconds: int | None = None
            cost: float | None = None

        feature = Feature("builds", owner="runner", payload=Build)
        feature.events(build_finished=1)
        feature.metric("p95", quantile=0.95, of="milliseconds", unit="ms", description="How long builds take.")
        feature.metric("cost", sum="cost", unit="EUR")
        feature.metric("finishedCount", events=["build_finished"])
    """
    answer_with(load_from(folder, builds=text), builds)
    answer = ask(builds, "{ metricDefinitions { feature name kind unit description } }", "99/")
    assert [tuple(metric.values()) for metric in answer["metricDefinitions"]] == [
        ("builds", "p95", "quantile", "ms", "How long builds take."),
        ("builds", "cost", "sum", "EUR", ""),
        ("builds", "finishedCount", "count", None, ""),
    ]
    described = ask(builds, '{ type: __type(name: "BuildsMetrics") { fields { name description } } }', "99/")
    texts = {field["name"]: field["description"] for field in described["type"]["fields"]}
    assert texts["p95"] == "How long builds take. Unit: ms."


@pytest.mark.parametrize("store_name", ["postgresql"])
def test_event_definitions_are_what_the_definition_says_in_the_order_of_ids(
    builds: GraphqlHandler,
) -> None:
    builds.stores = cast("StoreRouter", None)  # no store is asked
    definitions = ask(builds, DEFINITIONS, "99/")["eventDefinitions"]
    payload = [
        {"name": "size", "type": "int", "description": "in bytes"},
        {"name": "seconds", "type": "float", "description": ""},
        {"name": "branch", "type": "str", "description": ""},
        {"name": "machine", "type": "object", "description": ""},
        {"name": "machine.cores", "type": "int", "description": "that it could use"},
        {"name": "machine.name", "type": "str", "description": ""},
        {"name": "steps", "type": "list of object", "description": ""},
        {"name": "at", "type": "datetime", "description": ""},
    ]
    common = {"feature": "builds", "owner": "runner", "payload": payload}
    assert definitions == [
        common | {"id": 1, "name": "build_finished", "deprecated": False, "description": "a build came to its end"},
        common | {"id": 2, "name": "build_failed", "deprecated": False, "description": "A team's events."},
        common | {"id": 3, "name": "build_started", "deprecated": True, "description": "A team's events."},
    ]
