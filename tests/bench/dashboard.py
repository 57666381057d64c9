"""The dashboard's first picture: what a browser asks for until it can draw the overview's totals."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from infra import front_end
from tests.bench.api import Api
from tests.bench.dataset import build_rollups, dataset
from tests.bench.measure import Measurement, Work, against, seconds_of

TURNS = 7
WARM_UP = 2
DAYS = {"": 28, "_90": 90}
"""Days of the period, by the end of a row's name. 28 is what the dashboard shows at first."""

SCRIPT = "first-request.mjs"


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `dashboard_clickhouse`, `dashboard_postgres`, and both over 90 days, against one second."""
    answers: dict[int, Any] = {}
    with dataset(folder) as made:
        build_rollups(made.large, made.clickhouse)  # of days that were not over when the events were made
        for store, clickhouse_url in (("clickhouse", made.clickhouse), ("postgres", "")):
            with closing(Api(made.large, clickhouse_url)) as api:
                for end, days in DAYS.items():
                    facts, first = _requests(api, made.last_day, days)
                    answer = api.ask(**first)
                    if answers.setdefault(days, answer) != answer or not answer["totals"]["totalEventCount"]:
                        raise RuntimeError(f"The stores answer differently, or nothing: {answers[days]}, {answer}")
                    works = [api.request(**facts), api.request(**first)]
                    yield against(f"dashboard_{store}{end}", round(_seconds(works), 3), "s", 1)


def _requests(api: Api, today: date, days: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the dashboard's request for what the API can answer, and the overview's first one."""
    facts = request_of(facts=None, today=str(today), days=days)
    response: Any = api.request(**facts)()
    data = json.loads(response["body"])["data"]
    return facts, request_of(facts=data, today=str(today), days=days)


def request_of(**given: Any) -> dict[str, Any]:
    """Returns a request as the dashboard's own code writes it."""
    request = json.loads(front_end.printed(SCRIPT, json.dumps(given)))
    return {"query": request["query"], "variables": request.get("variables", {})}


def _seconds(works: list[Work]) -> float:
    """Returns the median of the seconds in which the works are done one after the other."""
    taken = [sum(map(seconds_of, works)) for _ in range(WARM_UP + TURNS)]
    return median(taken[WARM_UP:])
