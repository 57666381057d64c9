"""The requests that the benchmark of the dashboard's first picture takes from the dashboard's own code."""

from datetime import timedelta

from functions.graphql.handler import GraphqlHandler
from tests.bench.dashboard import request_of
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask


def test_the_first_picture_shows_the_totals_of_its_days(either: GraphqlHandler, insert: Insert) -> None:
    for days_ago in (0, 27, 28, 89, 90):
        insert(NOW - timedelta(days=days_ago))
    today = str(NOW.date())
    facts = ask(either, request_of(facts=None, today=today, days=28)["query"])
    for days, expected in ((28, 2), (90, 4)):
        first = request_of(facts=facts, today=today, days=days)
        assert ask(either, first["query"], **first["variables"])["totals"]["totalEventCount"] == expected
