"""Analysis on ClickHouse through GraphQL (a payload search, metrics), against hand-written SQL."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from functions.shared import clickhouse
from functions.shared.clickhouse import READ_SETTINGS
from tests.bench.api import Api, Variables
from tests.bench.dataset import GROWTH, Dataset, build_rollups, dataset, grown
from tests.bench.measure import Measurement, by_turns, times

TURNS = 15
WARM_UP = 3
SECONDS = 60
MONTH = timedelta(days=30)
PROJECT = 1_234

FILTER = """
    query ($start: Date, $end: Date, $project: JSON) {
        namespace(fullPath: "9/") {
            aiUsageData {
                all(startDate: $start, endDate: $end, payload: [{path: "project_id", eq: $project}], first: 100) {
                    nodes { id timestamp event user { id } namespacePath payload }
                }
            }
        }
    }
"""

METRICS = """
    query ($start: Date, $end: Date) {
        namespace(fullPath: "9/") {
            aiMetrics(startDate: $start, endDate: $end) {
                totalEventCount
                usersCount
                featuresCount
                codeSuggestions {
                    totalEventCount
                    contributorsCount
                    shownCount
                    acceptedCount
                    shownLinesOfCode
                    acceptedLinesOfCode
                    acceptanceRate
                    languages
                }
                chat { totalEventCount contributorsCount }
            }
        }
    }
"""

WITHIN = """
    timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}
    AND namespace_path >= '9/' AND namespace_path < '90'
"""

# The payloads, of which toJSONString reads every path, are read only for the few rows that are found.
FILTER_SQL = f"""
    SELECT id, timestamp, event, user_id, namespace_path, toJSONString(payload)
    FROM ai_usage_events FINAL
    WHERE (namespace_path, event, timestamp, id) IN (
        SELECT namespace_path, event, timestamp, id
        FROM ai_usage_events FINAL
        WHERE {WITHIN} AND payload.project_id.:Int64 = {{project:Int64}}
        ORDER BY timestamp DESC, UUIDToNum(id) DESC
        LIMIT 101
    )
    ORDER BY timestamp DESC, UUIDToNum(id) DESC
"""

# Events 1 to 5 are of code_suggestions: 2 was shown, 3 accepted; 6 is of chat.
METRICS_SQL = f"""
    SELECT count(),
           uniqExact(user_id),
           uniqExact(multiIf(event <= 5, 1, event = 6, 2, event = 7, 3, event IN (8, 9, 19, 20, 21, 22), 4, 5)),
           countIf(event <= 5),
           uniqExactIf(user_id, event <= 5),
           countIf(event = 2),
           countIf(event = 3),
           sumIf(payload.suggestion_size.:Int64, event = 2),
           sumIf(payload.suggestion_size.:Int64, event = 3),
           arraySort(groupUniqArrayIf(payload.language.:String, event <= 5 AND isNotNull(payload.language.:String))),
           countIf(event = 6),
           uniqExactIf(user_id, event = 6)
    FROM ai_usage_events FINAL
    WHERE {WITHIN}
"""

# As the sync writes them, both rows of an event that was sent twice are in the partition of its month.
SETTINGS = READ_SETTINGS | {"do_not_merge_across_partitions_select_final": 1}


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `payload_filter_clickhouse`, `metrics_clickhouse` and `metrics_growth`."""
    with (
        dataset(folder) as made,
        closing(Api(made.large, made.clickhouse)) as api,
        closing(clickhouse.connect(made.clickhouse, SECONDS)) as client,
    ):
        build_rollups(made.large, made.clickhouse)  # of days that were not over when the events were made
        yield _filter(made, api, client)
        yield _metrics(made, api, client)
        with closing(Api(made.large, grown(made))) as of_more:
            yield _growth(made, api, of_more)


def _filter(dataset: Dataset, api: Api, client: Client) -> Measurement:
    """The events of one project in a month."""
    end = dataset.last_day + timedelta(days=1)
    start = end - MONTH
    variables = {"start": str(start), "end": str(dataset.last_day), "project": PROJECT}
    values = {"start": _midnight(start), "end": _midnight(end), "project": PROJECT}
    bare = partial(_rows, client, FILTER_SQL, values)
    nodes = api.ask(FILTER, variables)["namespace"]["aiUsageData"]["all"]["nodes"]
    if not nodes or [node["id"] for node in nodes] != [str(row[0]) for row in bare()]:
        raise RuntimeError("The filter finds other events than the SQL")
    own, others = by_turns(TURNS, WARM_UP, api.request(FILTER, variables), bare)
    return times("payload_filter_clickhouse", own, others)


def _metrics(dataset: Dataset, api: Api, client: Client) -> Measurement:
    """The metrics of a namespace over all months."""
    variables = {"start": str(dataset.first_day), "end": str(dataset.last_day)}
    values = {"start": _midnight(dataset.first_day), "end": _midnight(dataset.last_day + timedelta(days=1))}
    bare = partial(_rows, client, METRICS_SQL, values)
    if _metric_values(api.ask(METRICS, variables)["namespace"]["aiMetrics"]) != list(bare()[0]):
        raise RuntimeError("The metrics are not those of the SQL")
    own, others = by_turns(TURNS, WARM_UP, api.request(METRICS, variables), bare)
    return times("metrics_clickhouse", own, others)


def _growth(dataset: Dataset, api: Api, of_more: Api) -> Measurement:
    """The same metrics of ten times the events, against those of the events."""
    variables = {"start": str(dataset.first_day), "end": str(dataset.last_day)}
    once, more = (_counts(one.ask(METRICS, variables)["namespace"]["aiMetrics"]) for one in (api, of_more))
    if more != (once[0] * GROWTH, *once[1:]):
        raise RuntimeError("The metrics of the grown table are not those of the events")
    own, others = by_turns(TURNS, WARM_UP, of_more.request(METRICS, variables), api.request(METRICS, variables))
    return times("metrics_growth", own, others)


def _counts(metrics: Any) -> tuple[int, int, list[str]]:
    """Returns the number of events, the number of users and the languages."""
    return metrics["totalEventCount"], metrics["usersCount"], metrics["codeSuggestions"]["languages"]


def _metric_values(metrics: Any) -> list[Any]:
    """Returns the metrics in the order of the SQL's columns, without the acceptance rate."""
    suggestions = metrics["codeSuggestions"]
    names = ("totalEventCount", "contributorsCount", "shownCount", "acceptedCount")
    sums = ("shownLinesOfCode", "acceptedLinesOfCode")
    return [
        *(metrics[name] for name in ("totalEventCount", "usersCount", "featuresCount")),
        *(suggestions[name] for name in (*names, *sums)),
        sorted(suggestions["languages"]),
        *(metrics["chat"][name] for name in ("totalEventCount", "contributorsCount")),
    ]


def _rows(client: Client, statement: str, values: Variables) -> Any:
    return client.query(statement, parameters=values, settings=SETTINGS).result_rows


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
