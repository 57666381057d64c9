"""Declared metrics of every kind, on payload keys of every type."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.ingest.payload_encoder import encode_payload
from tests.support.definitions import answer_with, load_from
from tests.support.graphql import Insert, ask

BUILDS = '''
from datetime import datetime


class Machine(Payload):
    """Where a build ran."""

    cores: int | None = None
    speed: float | None = None


class Build(Payload):
    """What a build was like."""

    size: int | None = None
    seconds: float | None = None
    branch: str | None = None
    cached: bool | None = None
    at: datetime | None = None
    machine: Machine | None = None


feature = Feature("builds", owner="runner", payload=Build)
feature.events(build_finished=1, build_failed=2)
feature.deprecated_events(build_started=3)
feature.metric("endedCount", events=["build_finished", "build_failed"])
feature.metric("failedCount", events=["build_failed"])
feature.metric("allCount")
feature.metric("bytes", sum="size")
feature.metric("bytesOfFailed", sum="size", events=["build_failed"])
feature.metric("seconds", sum="seconds")
feature.metric("cores", sum="machine.cores")
feature.metric("speed", sum="machine.speed")
feature.metric("failureRate", ratio=["failedCount", "endedCount"])
feature.metric("bytesASecond", ratio=("bytes", "seconds"))
feature.metric("sizes", distinct="size")
feature.metric("durations", distinct="seconds")
feature.metric("branches", distinct="branch")
feature.metric("branchesOfFailed", distinct="branch", events=["build_failed"])
feature.metric("cacheUses", distinct="cached")
feature.metric("times", distinct="at")
feature.metric("coreCounts", distinct="machine.cores")
'''
NUMBERS = """
    totalEventCount contributorsCount buildFailedEventCount buildStartedEventCount endedCount failedCount allCount
    bytes bytesOfFailed seconds cores speed
"""
RATIOS = "failureRate bytesASecond"
LISTS = "sizes durations branches branchesOfFailed cacheUses times coreCounts"
FIELDS = f"{NUMBERS} {RATIOS} {LISTS}"
OF_NOTHING: dict[str, Any] = {
    **dict.fromkeys(NUMBERS.split(), 0),
    **dict.fromkeys(RATIOS.split()),
    **{name: [] for name in LISTS.split()},
}
USERS = f"""
    query ($sort: AiUserMetricsSort, $first: Int, $after: String) {{
        aiInstanceUserMetrics(sort: $sort, first: $first, after: $after) {{
            nodes {{ user {{ id }} builds {{ {FIELDS} }} }}
            pageInfo {{ endCursor hasNextPage }}
        }}
    }}
"""


@pytest.fixture
def builds(either: GraphqlHandler, folder: Path) -> GraphqlHandler:
    """Returns a function that builds the API with only this module's definition."""
    answer_with(load_from(folder, builds=BUILDS), either)
    return either


def of_something(metrics: dict[str, Any]) -> dict[str, Any]:
    """Returns the feature's metrics that differ from those of no event."""
    assert metrics.keys() == OF_NOTHING.keys()
    return {name: value for name, value in metrics.items() if value != OF_NOTHING[name]}


def metrics(handler: GraphqlHandler) -> dict[str, Any]:
    answer = ask(handler, f"{{ aiInstanceMetrics {{ builds {{ {FIELDS} }} }} }}")
    return of_something(answer["aiInstanceMetrics"]["builds"])


def of_users(handler: GraphqlHandler, sort: str, size: int = 1) -> dict[int, dict[str, Any]]:
    """Returns the metrics of each user in sort order, read page by page."""
    found: dict[int, dict[str, Any]] = {}
    more, after = True, None
    while more:
        page = ask(handler, USERS, sort=sort, first=size, after=after)["aiInstanceUserMetrics"]
        found |= {int(node["user"]["id"]): of_something(node["builds"]) for node in page["nodes"]}
        more, after = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
    return found


def test_metrics_measure_the_events_that_they_name(builds: GraphqlHandler, insert: Insert) -> None:
    assert metrics(builds) == {}
    insert(event=1, user_id=1, size=4, seconds=0.5, branch="main")
    insert(event=2, user_id=1, size=2, seconds=1.5, branch="a")
    insert(event=1, user_id=2)
    insert(event=3, user_id=3, size=10, branch="b")
    insert(event=32_000, user_id=4, size=1_000, branch="c")
    assert metrics(builds) == {
        "totalEventCount": 4,
        "contributorsCount": 3,
        "buildFailedEventCount": 1,
        "buildStartedEventCount": 1,
        "endedCount": 3,
        "failedCount": 1,
        "allCount": 4,
        "failureRate": 1 / 3,
        "bytes": 16,
        "bytesOfFailed": 2,
        "seconds": 2.0,
        "bytesASecond": 8.0,
        "sizes": [2, 4, 10],
        "durations": [0.5, 1.5],
        "branches": ["a", "b", "main"],
        "branchesOfFailed": ["a"],
    }


# Values of a key, and what the metrics are of these.
VALUES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("size", [1, 2, 2], {"bytes": 5, "sizes": [1, 2]}),
    ("size", [10, 9, -3], {"bytes": 16, "sizes": [-3, 9, 10]}),
    ("size", [5.0, 5, 5.5], {"bytes": 10, "sizes": [5]}),
    ("size", [0, 0.0, -0.0], {"sizes": [0]}),
    ("size", [2**63 - 1, 2**63 - 1, 2**63], {"bytes": 2**64 + 2**63 - 2, "sizes": [2**63 - 1, 2**63]}),
    ("size", [2**64 - 1, 2**53 + 1, 2**53], {"bytes": 2**64 + 2**54, "sizes": [2**53, 2**53 + 1, 2**64 - 1]}),
    ("size", ["5", True, [5], {"a": 5}, None], {}),
    ("seconds", [0.5, 0.25, 1, 0.25], {"seconds": 2.0, "durations": [0.25, 0.5, 1.0], "bytesASecond": 0.0}),
    ("seconds", [0.5, -0.5], {"durations": [-0.5, 0.5]}),
    ("seconds", ["0.5", False, [], {"a": 0.5}], {}),
    ("branch", ["b", "a", "b"], {"branches": ["a", "b"]}),
    ("branch", ["é", "z", "Z", "", "😀", "\uffff"], {"branches": ["", "Z", "z", "é", "\uffff", "😀"]}),
    ("branch", [1, True, ["a"], {"a": "b"}], {}),
    ("cached", [True, False, True], {"cacheUses": [False, True]}),
    ("cached", ["true", 1, 0], {}),
    ("at", ["2026-11-20T00:00:00Z", "2026-11-19", 5], {"times": ["2026-11-19", "2026-11-20T00:00:00Z"]}),
    ("machine", [{"cores": 4, "speed": 1.5}, {"cores": 2}, 7], {"cores": 6, "speed": 1.5, "coreCounts": [2, 4]}),
]


def test_only_values_of_a_keys_type_are_added_up_or_listed(builds: GraphqlHandler, insert: Insert) -> None:
    expected = {}
    for user_id, (key, values, values_of_metrics) in enumerate(VALUES, start=1):
        for value in values:
            insert(event=3, user_id=user_id, **{key: value})
        counts = dict.fromkeys(("totalEventCount", "buildStartedEventCount", "allCount"), len(values))
        expected[user_id] = counts | {"contributorsCount": 1} | values_of_metrics
    assert of_users(builds, "TOTAL_EVENT_COUNT_DESC", size=10) == expected


SORTED = {
    "BUILDS_BYTES_DESC": [4, 5, 3, 2, 1],
    "BUILDS_BYTES_ASC": [1, 2, 3, 5, 4],
    "BUILDS_CORES_ASC": [1, 2, 4, 5, 3],
    "BUILDS_FAILED_COUNT_DESC": [3, 5, 4, 2, 1],
    "BUILDS_BUILD_FAILED_EVENT_COUNT_ASC": [1, 2, 4, 5, 3],
    "BUILDS_ALL_COUNT_DESC": [4, 3, 5, 2, 1],
}


def test_users_are_sorted_by_each_whole_number_that_is_declared(builds: GraphqlHandler, insert: Insert) -> None:
    insert(event=1, user_id=1, size=-(2**63))
    insert(event=1, user_id=2)
    for cores in (2, 3):
        insert(event=2, user_id=3, machine={"cores": cores})
        insert(event=1, user_id=4, size=2**64 - 1)
    insert(event=2, user_id=5, size=1, machine={"cores": 1})
    for sort, order in SORTED.items():
        found = of_users(builds, sort)
        assert list(found) == order, sort
        assert (found[1]["bytes"], found[4]["bytes"], found[3]["coreCounts"]) == (-(2**63), 2**65 - 2, [2, 3])


def test_no_number_of_a_payload_makes_a_metric_infinite(
    builds: GraphqlHandler, insert: Insert, connection: psycopg.Connection
) -> None:
    for seconds in (1e300, -1.7e308, 1.7e308, 1.7e308, 5e299, 5e299, 1.5):
        insert(event=1)
        payload = encode_payload({"seconds": seconds, "size": 1}).decode()  # a large fraction is no integer there
        connection.execute("UPDATE ai_usage_events SET payload = %s WHERE payload = '{}'", [payload])
    found = metrics(builds)
    assert found["seconds"] == 1e300  # what is as large as that or larger is not added
    assert found["durations"] == [-1.7e308, 1.5, 5e299, 1e300, 1.7e308]
    assert found["bytesASecond"] == 7 / 1e300


def test_a_ratio_that_no_double_is_near_to_is_none(builds: GraphqlHandler, insert: Insert) -> None:
    insert(event=1, size=2**63, seconds=5e-324)
    found = metrics(builds)
    assert (found["bytes"], found["seconds"]) == (2**63, 5e-324)
    assert "bytesASecond" not in found
