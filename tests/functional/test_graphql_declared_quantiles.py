"""Averages, extremes and quantiles that a definition declares, as metrics and as measures of groups."""

from pathlib import Path

import pytest

from functions.graphql.handler import GraphqlHandler
from tests.support.definitions import answer_with, load_from
from tests.support.graphql import Insert, ask

BUILDS = '''
class Build(Payload):
    """What a build was like."""

    size: int | None = None
    seconds: float | None = None


feature = Feature("builds", owner="runner", payload=Build)
feature.events(build_finished=1, build_failed=2)
feature.metric("meanSize", avg="size")
feature.metric("leastSize", min="size")
feature.metric("greatestSize", max="size")
feature.metric("longest", max="seconds", events=["build_failed"])
feature.metric("median", quantile=0.5, of="seconds")
'''
FIELDS = "meanSize leastSize greatestSize longest median"
QUERY = f"""{{
    aiInstanceMetrics {{ builds {{ {FIELDS} }} }}
    aiInstanceUserMetrics(sort: TOTAL_EVENT_COUNT_ASC) {{ nodes {{ user {{ id }} builds {{ {FIELDS} }} }} }}
    aiInstanceUsage(measures: [{{name: "median", metric: "builds.median"}}]) {{ measures {{ value }} }}
}}"""
NOTHING = dict.fromkeys(FIELDS.split())


@pytest.fixture
def builds(either: GraphqlHandler, folder: Path) -> GraphqlHandler:
    """The API with only this module's definition."""
    answer_with(load_from(folder, builds=BUILDS), either)
    return either


def test_averages_and_quantiles_take_paths_of_numbers_others_those_of_the_keys_type(
    builds: GraphqlHandler, insert: Insert
) -> None:
    assert ask(builds, QUERY) == {
        "aiInstanceMetrics": {"builds": NOTHING},
        "aiInstanceUserMetrics": {"nodes": []},
        "aiInstanceUsage": [{"measures": [{"value": None}]}],
    }
    insert(event=1, user_id=1, size=2**64 - 1, seconds=10)
    insert(event=2, user_id=1, size=4.5, seconds=20.0)  # no size: the key is an integer
    insert(event=1, user_id=1, size=5.0, seconds="30")
    insert(event=1, user_id=2, size="7")
    of_all = {
        "meanSize": (2**64 + 4) / 2,
        "leastSize": 5,
        "greatestSize": 2**64 - 1,
        "longest": 20.0,
        "median": 15.0,
    }
    assert ask(builds, QUERY) == {
        "aiInstanceMetrics": {"builds": of_all},
        "aiInstanceUserMetrics": {
            "nodes": [{"user": {"id": "2"}, "builds": NOTHING}, {"user": {"id": "1"}, "builds": of_all}]
        },
        "aiInstanceUsage": [{"measures": [{"value": 15.0}]}],
    }
