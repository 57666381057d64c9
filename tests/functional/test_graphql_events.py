import re
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import psycopg
import pytest
from clickhouse_connect.driver.httpclient import HttpClient

from functions.graphql.handler import GraphqlHandler
from functions.shared.catalog.names import camel_case
from tests.support.builds import BUILDS, DEPLOYMENTS
from tests.support.clock import NOW
from tests.support.definitions import answer_with, load_from
from tests.support.graphql import Insert, ask, request

NO_STEP = {"name": None, "seconds": None}
BUILD: dict[str, Any] = {
    "size": 2**63 - 1,
    "ratio": 0.5,
    "done": False,
    "at": "2026-11-20T15:00:59.936000Z",
    "ref_name": "main",
    "tags": ["a", "é"],
    "grid": [[1, 2], [], [3]],
    "times": ["2026-11-20T00:00:00Z"],
    "steps": [{"name": "lint", "seconds": 1}, {"name": "test"}],
    "machine": {"cores": 4, "owner": {"team": "x"}},
}
FIELDS = {
    "size": "size",
    "ratio": "ratio",
    "done": "done",
    "at": "at",
    "ref_name": "refName",
    "tags": "tags",
    "grid": "grid",
    "times": "times",
    "steps": "steps { name seconds }",
    "machine": "machine { cores owner { team } }",
}
NONES = [None, None]

# Values of any type, and what a key reads each as; where it is not named, it is null.
READ_AS: list[tuple[Any, dict[str, Any]]] = [
    ("text", {"ref_name": "text"}),
    ("2026-11-20", {"ref_name": "2026-11-20", "at": "2026-11-20T00:00:00Z"}),
    (7, {"size": 7, "ratio": 7}),
    (7.5, {"ratio": 7.5}),
    (8.0, {"size": 8, "ratio": 8}),
    (2**64 - 1, {"size": 2**64 - 1, "ratio": 2.0**64}),
    (-(2**63), {"size": -(2**63), "ratio": -(2.0**63)}),
    (True, {"done": True}),
    ([], {"tags": [], "grid": [], "times": [], "steps": []}),
    ([1, 2.5], {"tags": NONES, "grid": NONES, "times": NONES, "steps": NONES}),
    (["b"], {"tags": ["b"], "grid": [None], "times": [None], "steps": [None]}),
    ([[1.0, 2]], {"tags": [None], "grid": [[1, 2]], "times": [None], "steps": [None]}),
    ({"cores": "x", "owner": 1}, {"machine": {"cores": None, "owner": None}}),
    ([{"name": 1, "seconds": "s"}], {"tags": [None], "grid": [None], "times": [None], "steps": [NO_STEP]}),
]


@pytest.fixture
def builds(either: GraphqlHandler, folder: Path) -> GraphqlHandler:
    """Returns a function that builds the API with only this module's definitions."""
    answer_with(load_from(folder, builds=BUILDS, deployments=DEPLOYMENTS), either)
    return either


def nodes(handler: GraphqlHandler, field: str, selected: str, **variables: Any) -> list[Any]:
    """Returns the nodes of the field with this selection."""
    declared = f"({', '.join(f'${name}: [String!]' for name in variables)})" if variables else ""
    query = f"query q{declared} {{ aiInstanceUsageData {{ {field} {{ nodes {{ {selected} }} }} }} }}"
    (found,) = ask(handler, query, **variables)["aiInstanceUsageData"].values()
    return list(found["nodes"])


SHIPPED = [
    (
        "codeSuggestionEvents",
        range(1, 6),
        {
            "unique_tracking_id": "u",
            "suggestion_size": 3,
            "language": "ruby",
            "branch_name": "b",
            "ide_name": "i",
            "ide_vendor": "v",
            "ide_version": "1",
            "extension_name": "e",
            "extension_version": "2",
            "language_server_version": "3",
            "model_name": "m",
            "model_engine": "n",
        },
    ),
    ("chatEvents", [6], {}),
    (
        "troubleshootJobEvents",
        [7],
        {"job_id": 1, "project_id": 2**53 + 1, "pipeline_id": 2, "merge_request_id": 2**63 - 1},
    ),
    (
        "agentPlatformEvents",
        [8, 9, *range(19, 23), *range(28, 31)],
        {"project_id": 1, "session_id": 2, "flow_type": "f", "environment": "e"},
    ),
    ("agenticChatEvents", [8, 9, *range(19, 23), *range(28, 31)], {"session_id": 2}),
    ("codeReviewEvents", [*range(10, 19), 32], {}),
    (
        "mcpEvents",
        [23, 24],
        {
            "mcp_session_id": "s",
            "tool_name": "t",
            "has_tool_call_success": False,
            "failure_reason": "f",
            "error_status": "e",
        },
    ),
    ("fixPipelineEvents", [25, 26], {}),
    ("duoWorkflowEvents", [27], {"workflow_id": 1, "workflow_definition": "d"}),
    ("aiCatalogEvents", [31], {}),
    ("summarizeNewMergeRequestEvents", [33], {}),
    ("requestDuoVulnerabilityResolutionEvents", [34], {}),
    ("explainVulnerabilityEvents", [35], {}),
    ("summarizeReviewEvents", [36], {}),
    ("generateMergeCommitMessageEvents", [37], {}),
    ("duoMessagingEvents", [38], {"feedback": "f", "workflow_id": 1, "surface": "s"}),
    ("featureDiscoveryEvents", [46], {"resolution_tier": "r", "latency_ms": 2**40}),
]


@pytest.mark.parametrize(("field", "event_ids", "payload"), SHIPPED, ids=[case[0] for case in SHIPPED])
def test_each_shipped_feature_has_a_field_with_its_events_and_payload_keys(
    field: str, event_ids: list[int], payload: dict[str, Any], either: GraphqlHandler, insert: Insert
) -> None:
    for event_id in either.registry.by_id:
        insert(event=event_id, project=payload.get("project_id"), **payload)
    names = {key: camel_case(key) for key in payload}
    found = nodes(either, field, f"event payload {' '.join(names.values())}")
    events = {either.registry.by_id[event_id].name.upper() for event_id in event_ids}
    assert len(found) == len(events)
    assert {node["event"] for node in found} == events
    for node in found:
        assert {key: node[name] for key, name in names.items()} == node["payload"] == payload


def test_a_payload_of_every_type_is_read_with_its_types(builds: GraphqlHandler, insert: Insert) -> None:
    insert(event=1, **BUILD)
    (found,) = nodes(builds, "buildsEvents", f"__typename {' '.join(FIELDS.values())}")
    steps = [{"name": "lint", "seconds": 1.0}, {"name": "test", "seconds": None}]
    assert found == {"__typename": "BuildEvent"} | {
        field.partition(" ")[0]: steps if key == "steps" else BUILD[key] for key, field in FIELDS.items()
    }
    assert type(found["steps"][0]["seconds"]) is float


def test_keys_that_a_stored_payload_does_not_have_are_null_required_ones_too(
    builds: GraphqlHandler, insert: Insert
) -> None:
    insert(event=1, machine={"cores": 2})
    (found,) = nodes(builds, "buildsEvents", " ".join(FIELDS.values()))
    assert found == dict.fromkeys((field.partition(" ")[0] for field in FIELDS.values()), None) | {
        "machine": {"cores": 2, "owner": None}
    }


def test_a_stored_value_of_another_type_than_its_key_is_null(builds: GraphqlHandler, insert: Insert) -> None:
    for seconds, (stored, _) in enumerate(READ_AS):
        insert(NOW - timedelta(seconds=seconds), 1, **dict.fromkeys(FIELDS, stored))
    found = nodes(builds, "buildsEvents", " ".join(FIELDS.values()))
    for (stored, read), node in zip(READ_AS, found, strict=True):
        assert node == {field.partition(" ")[0]: read.get(key) for key, field in FIELDS.items()}, stored


@pytest.mark.parametrize(
    ("number", "ratio", "grid"),
    [
        ("1" + "0" * 400, None, [[None]]),
        ("-1e30", -1e30, [[None]]),
        ("1e400", None, [[None]]),
        ("1" * 400 + ".5", None, None),
    ],
)
def test_a_number_that_no_client_could_read_is_null(
    number: str,
    ratio: float | None,
    grid: list[list[None]] | None,
    api: GraphqlHandler,
    folder: Path,
    connection: psycopg.Connection,
) -> None:
    answer_with(load_from(folder, builds=BUILDS), api)
    connection.execute(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload) VALUES (gen_random_uuid(), %(now)s, 1, 1,"
        " jsonb_build_object('size', %(number)s::jsonb, 'ratio', %(number)s::jsonb, 'grid', %(lists)s::jsonb))",
        {"now": NOW, "number": number, "lists": f"[[{number}]]"},
    )
    (found,) = nodes(api, "buildsEvents", "size ratio grid")
    assert found == {"size": None, "ratio": ratio, "grid": grid}


def test_all_has_the_fields_of_several_types_in_fragments(builds: GraphqlHandler, insert: Insert) -> None:
    insert(NOW, 1, size=1, ref_name="main", refName=5)
    insert(NOW - timedelta(hours=1), 2, size=2, ref_name="other", refName=6)
    selected = """
        __typename
        ... on BuildEvent { size ref: refName machine { cores } }
        ...deployed
        ... on AiUsageEvent { ... on DeploymentEvent { again: size } }
    """
    fragment = " fragment deployed on DeploymentEvent { size number: refName }"
    query = f"{{ aiInstanceUsageData {{ all {{ nodes {{ {selected} }} }} }} }}{fragment}"
    assert ask(builds, query)["aiInstanceUsageData"]["all"]["nodes"] == [
        {"__typename": "BuildEvent", "size": 1, "ref": "main", "machine": None},
        {"__typename": "DeploymentEvent", "size": 2, "number": 6, "again": 2},
    ]


CHOSEN = [
    (["size"], {"size": BUILD["size"]}),
    (["machine.owner.team", "size"], {"machine": {"owner": {"team": "x"}}, "size": BUILD["size"]}),
    (["machine", "machine.cores"], {"machine": BUILD["machine"]}),
    (["tags[1]", "grid[0][1]", "steps[1].name"], {"tags": ["é"], "grid": [[2]], "steps": [{"name": "test"}]}),
    (["grid[1]", "grid[9]", "nothing", "size.x", "tags.x", "size[0]"], {"grid": [[]]}),
    (["size", "size"], {"size": BUILD["size"]}),
    ([], {}),
]


def test_a_payload_is_just_what_is_at_the_paths_that_are_asked_for(builds: GraphqlHandler, insert: Insert) -> None:
    insert(event=1, **BUILD)
    for (paths, chosen), field in product(CHOSEN, ("all", "buildsEvents")):
        assert nodes(builds, field, "payload(paths: $paths)", paths=paths) == [{"payload": chosen}], paths


def test_a_payload_is_asked_for_in_several_ways_at_once(builds: GraphqlHandler, insert: Insert) -> None:
    insert(event=1, **BUILD)
    query = """
        query ($paths: [String!], $missing: [String!]) {
            aiInstanceUsageData {
                all {
                    nodes { ...whole ... on BuildEvent { one: payload(paths: ["done"]) size } }
                    edges { node { two: payload(paths: $paths) rest: payload(paths: $missing) ...more } }
                }
            }
        }
        fragment whole on AiUsageEvent { payload }
        fragment more on BuildEvent { three: payload(paths: ["at", "ratio"]) refName }
    """
    answer = ask(builds, query, paths=["tags[0]"])["aiInstanceUsageData"]["all"]
    assert answer["nodes"] == [{"payload": BUILD, "one": {"done": False}, "size": BUILD["size"]}]
    (edge,) = answer["edges"]
    assert edge["node"] == {
        "two": {"tags": ["a"]},
        "rest": BUILD,
        "three": {"at": BUILD["at"], "ratio": 0.5},
        "refName": "main",
    }


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["a..b"], "payload: 'a..b' is not a path"),
        ([""], "payload: '' is not a path"),
        (["a", "[0]"], "is not a path"),
        (["a."], "is not a path"),
        (["x" * 1025], "at most 1,024 characters"),
        ([f"a{number}" for number in range(51)], "payload takes at most 50 paths, not 51"),
    ],
)
def test_paths_that_can_not_be_used_are_named(paths: list[str], said: str, api: GraphqlHandler, insert: Insert) -> None:
    insert()
    query = "query ($paths: [String!]) { aiInstanceUsageData { all { nodes { payload(paths: $paths) } } } }"
    _, answer = request(api, {"query": query, "variables": {"paths": paths}})
    (error,) = answer["errors"]
    assert said in error["message"]


READ_IN_CLICKHOUSE = [
    ("id event user { id }", set()),
    ("size machine { cores }", {"payload.`size`", "payload.`machine`"}),
    ('payload(paths: ["machine.owner.team", "tags[0]"])', {"payload.`machine.owner.team`", "payload.`tags`"}),
    ("payload", {"toJSONString(payload)"}),
    ('done payload a: payload(paths: ["at"])', {"toJSONString(payload)", "payload.`done`", "payload.`at`"}),
]


@pytest.mark.parametrize("store_name", ["clickhouse"])
@pytest.mark.parametrize(("selected", "read"), READ_IN_CLICKHOUSE)
def test_clickhouse_reads_just_the_subcolumns_that_are_asked_for(
    selected: str, read: set[str], builds: GraphqlHandler, insert: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(event=1, **BUILD)
    statements: list[str] = []
    query = HttpClient.query

    def noted(client: HttpClient, statement: str, *arguments: Any, **options: Any) -> Any:
        statements.append(statement)
        return query(client, statement, *arguments, **options)

    monkeypatch.setattr(HttpClient, "query", noted)
    assert len(nodes(builds, "buildsEvents", selected)) == 1
    (statement,) = [statement for statement in statements if "FROM ai_usage_events FINAL" in statement]
    found = re.findall(r"toJSONString\(payload\)|payload\.\^?`[^`]+`|payload[^.,]*", statement)
    assert {mention.replace("^", "") for mention in found} == read
