"""Each fault raises its own alarm within five minutes, on metrics that the real functions emitted."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from copy import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from functions.graphql import query_metrics
from functions.ingest import api_handler
from functions.ingest.limiter import Limiter
from functions.shared import locks
from functions.shared.partitions import later_month, month_of, partition_name
from functions.shared.tenant_limits import Limits, TenantLimits
from functions.shared.timestamp import utc_now
from tests.support.counted_together import CountedTogether
from tests.support.watched import HOUR, NO_CLICKHOUSE, Watched, built_sync, watched, without_postgresql

MINUTES = 5
UNKNOWN = {"event": "unknown", "user_id": 1}

type Fault = Callable[[Watched, psycopg.Connection], object]


@pytest.fixture
def stack(database_url: str, clickhouse_url: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Watched]:
    with watched(database_url, clickhouse_url, capsys) as stack:
        yield stack


def none(stack: Watched, connection: psycopg.Connection) -> None:
    pass


def postgresql_stopped(stack: Watched, connection: psycopg.Connection) -> None:
    without_postgresql(stack)


def poison_message(stack: Watched, connection: psycopg.Connection) -> None:
    read = stack.consumer.read

    def failing(body: bytes, origin: Any) -> Any:
        if b"poison" in body:
            raise RecursionError
        return read(body, origin)

    stack.consumer.read = failing
    stack.send([b'"poison"'], groups=[None])


def dead_letter(stack: Watched, connection: psycopg.Connection) -> None:
    poison_message(stack, connection)
    stack.max_receives = 1


def consumer_does_not_start(stack: Watched, connection: psycopg.Connection) -> None:
    stack.consumer = None  # type: ignore[assignment]  # calling it fails


def consumer_is_throttled(stack: Watched, connection: psycopg.Connection) -> None:
    stack.throttled.add("Consumer")


def consumer_is_not_invoked(stack: Watched, connection: psycopg.Connection) -> None:
    stack.due.remove(stack.store)


def ingest_does_not_start(stack: Watched, connection: psycopg.Connection) -> None:
    stack.ingest = None  # type: ignore[assignment]  # calling it fails


def queue_is_away(stack: Watched, connection: psycopg.Connection) -> None:
    def send(bodies: Sequence[bytes], *, groups: Sequence[str | None]) -> set[int]:
        return set(range(len(bodies)))

    stack.ingest.intake = type(stack.ingest.intake)(stack.ingest.intake.registry, 3, send)


def rejected_by_ingest(stack: Watched, connection: psycopg.Connection) -> None:
    stack.events = lambda: [UNKNOWN] * 10


def rejected_by_the_consumer(stack: Watched, connection: psycopg.Connection) -> None:
    stack.published = [[UNKNOWN] * 10]


def tenant_reached_its_limit(stack: Watched, connection: psycopg.Connection) -> None:
    stack.ingest.limiter = Limiter(TenantLimits(own={"*": Limits(per_day=1)}), CountedTogether())


def sync_is_not_invoked(stack: Watched, connection: psycopg.Connection) -> None:
    stack.due.remove(stack.copy)


def clickhouse_is_away(stack: Watched, connection: psycopg.Connection) -> None:
    stack.sync = built_sync(stack.sync.mover.database_url, NO_CLICKHOUSE)


def sync_makes_no_progress(stack: Watched, connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_advisory_lock(%s)", [locks.SYNC])  # another sync holds it and does nothing
    connection.execute("UPDATE sync_state SET caught_up_at = caught_up_at - interval '20 minutes'")


def row_is_refused_by_clickhouse(stack: Watched, connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
        " VALUES (gen_random_uuid(), now(), 6, -1, '{}')"
    )


def retention_is_not_invoked(stack: Watched, connection: psycopg.Connection) -> None:
    stack.now += 25 * HOUR + 56 * 60
    stack.minutes(1)
    stack.repeat(7 * HOUR)  # all but the retention ran meanwhile


def retention_fails(stack: Watched, connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_advisory_lock(%s)", [locks.RETENTION])
    stack.due.append(stack.retain)


def partition_must_be_kept(stack: Watched, connection: psycopg.Connection) -> None:
    month = later_month(month_of(utc_now().date()), -5)
    name, end = partition_name(month), later_month(month, 1)
    connection.execute(f"CREATE TABLE {name} PARTITION OF ai_usage_events FOR VALUES FROM ('{month}') TO ('{end}')")
    connection.execute(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
        f" VALUES (gen_random_uuid(), '{month}', 6, 1, '{{}}')"
    )
    stack.due.insert(0, stack.retain)


def connections_are_taken(stack: Watched, connection: psycopg.Connection) -> None:
    (allowed,) = connection.execute("SELECT current_setting('max_connections')::int").fetchone() or (0,)
    for _ in range(allowed * 85 // 100):  # as another application would
        other = psycopg.connect(connection.info.dsn, password=connection.info.password)
        stack.patches.enter_context(closing(other))


def partition_is_missing(stack: Watched, connection: psycopg.Connection) -> None:
    connection.execute(f"DROP TABLE {partition_name(later_month(month_of(utc_now().date()), 1))}")


def producer_stops_sending_a_key(stack: Watched, connection: psycopg.Connection) -> None:
    connection.execute(
        """
        INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)
        SELECT gen_random_uuid(), now() - day * interval '1 day', 2, 1,
            CASE WHEN day = 1 THEN '{}' ELSE '{"language": "ruby"}' END::jsonb
        FROM generate_series(1, 8) AS day, generate_series(1, 60)
        """
    )
    stack.due.append(stack.retain)


def requests_are_slow(stack: Watched, connection: psycopg.Connection) -> None:
    clock = iter(range(1_000_000))
    stack.patches.enter_context(patch.object(api_handler, "perf_counter", lambda: 6.0 * next(clock)))


def queries_are_slow(stack: Watched, connection: psycopg.Connection) -> None:
    stack.patches.enter_context(patch.object(query_metrics, "perf_counter", lambda: time.perf_counter() + 6))


FAULTS: dict[Fault, set[str]] = {
    none: set(),
    postgresql_stopped: {"ConsumerDatabaseAlarm", "QueryFailuresAlarm", "SyncAlarm"},
    poison_message: {"ConsumerCodeAlarm"},
    dead_letter: {"ConsumerCodeAlarm", "DeadLetterAlarm"},
    consumer_does_not_start: {"ConsumerErrorsAlarm"},
    consumer_is_throttled: {"ThrottlesAlarm"},
    consumer_is_not_invoked: {"ConsumerIdleAlarm"},
    ingest_does_not_start: {"ApiErrorsAlarm", "IngestFastBurnAlarm", "IngestSlowBurnAlarm"},
    queue_is_away: {"ApiErrorsAlarm", "IngestFastBurnAlarm", "IngestSlowBurnAlarm"},
    rejected_by_ingest: {"IngestRejectionsAlarm"},
    rejected_by_the_consumer: {"ConsumerRejectionsAlarm"},
    tenant_reached_its_limit: {"TenantLimitAlarm"},
    sync_is_not_invoked: {"SyncScheduleAlarm"},
    clickhouse_is_away: {"SyncAlarm"},
    sync_makes_no_progress: {"SyncLagAlarm"},
    row_is_refused_by_clickhouse: {"SyncRefusedAlarm"},
    retention_is_not_invoked: {"RetentionScheduleAlarm"},
    retention_fails: {"RetentionAlarm"},
    partition_must_be_kept: {"PartitionsKeptAlarm"},
    connections_are_taken: {"DatabaseConnectionsAlarm"},
    partition_is_missing: {"PartitionsMissingAlarm"},
    producer_stops_sending_a_key: {"ContractAlarm"},
    requests_are_slow: {"IngestLatencyAlarm"},
    queries_are_slow: {"QueryLatencyAlarm"},
}


def canary_is_not_invoked(stack: Watched, connection: psycopg.Connection) -> None:
    stack.due.remove(stack.fly)


def canary_is_refused(stack: Watched, connection: psycopg.Connection) -> None:
    stack.canary = stack.built_canary("a secret that the functions do not have")


def canary_is_shown_late(stack: Watched, connection: psycopg.Connection) -> None:
    wait = stack.canary.canary.sleep
    late = replace(stack.canary.canary, sleep=lambda _: wait(70))
    stack.canary = replace(stack.canary, canary=late)


def canary_is_not_in_clickhouse(stack: Watched, connection: psycopg.Connection) -> None:
    def fly_while_nothing_is_copied() -> None:
        stack.due.remove(stack.copy)
        stack.fly()
        stack.due.append(stack.copy)

    stack.due[stack.due.index(stack.fly)] = fly_while_nothing_is_copied


CANARY_FAULTS: dict[Fault, set[str]] = {
    canary_is_not_invoked: {"CanaryAlarm"},
    canary_is_refused: {"CanaryAlarm"},
    canary_is_shown_late: {"CanaryAlarm"},
    canary_is_not_in_clickhouse: {"CanaryClickHouseAlarm"},
    none: set(),
}


def alarmed(found: set[str]) -> set[str]:
    """Returns those of the alarms that notify somebody."""
    return {name for name in found if name.endswith("Alarm")}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_raises_its_own_alarms_within_five_minutes(
    fault: Fault, stack: Watched, connection: psycopg.Connection
) -> None:
    fault(stack, connection)
    assert alarmed(stack.minutes(MINUTES)) == FAULTS[fault]


@pytest.mark.parametrize("fault", CANARY_FAULTS, ids=lambda fault: fault.__name__)
def test_two_canaries_that_fail_raise_their_alarm(fault: Fault, stack: Watched, connection: psycopg.Connection) -> None:
    fault(stack, connection)
    assert "Canary" not in str(stack.minutes(MINUTES))
    assert alarmed(stack.minutes(MINUTES)) == CANARY_FAULTS[fault]


def test_a_batch_of_a_killed_consumer_does_not_raise_the_alarm_of_waiting_messages(stack: Watched) -> None:
    consumer, stack.consumer = stack.consumer, None  # type: ignore[assignment]  # calling it fails
    raised = stack.minutes(1)
    stack.consumer = consumer
    assert alarmed(raised | stack.minutes(10)) == {"ConsumerErrorsAlarm"}


def test_messages_that_are_not_stored_in_time_raise_their_alarm(stack: Watched) -> None:
    stack.due.remove(stack.store)
    assert "OldestMessageAlarm" not in stack.minutes(7)
    assert "OldestMessageAlarm" in stack.minutes(3)


def test_many_late_messages_burn_the_objective_of_delivery(stack: Watched) -> None:
    stack.ingest.now = lambda: utc_now() - timedelta(seconds=90)
    stack.minutes(1)
    stack.repeat(50 * 60)
    assert alarmed(stack.minutes(1)) == {"DeliveryFastBurnAlarm"}
    stack.ingest.now = utc_now
    stack.minutes(5)
    assert alarmed(stack.minutes(1)) == set()


def test_late_messages_for_hours_burn_the_objective_of_delivery_slowly_too(stack: Watched) -> None:
    stack.ingest.now = lambda: utc_now() - timedelta(seconds=90)
    stack.minutes(1)
    stack.repeat(2 * HOUR)
    assert alarmed(stack.minutes(1)) == {"DeliveryFastBurnAlarm", "DeliverySlowBurnAlarm"}


def test_a_long_lag_burns_its_objective(stack: Watched, connection: psycopg.Connection) -> None:
    sync_makes_no_progress(stack, connection)
    stack.minutes(1)
    stack.repeat(50 * 60)
    assert alarmed(stack.minutes(1)) == {
        "SyncLagAlarm",
        "LagFastBurnAlarm",
        "LagSlowBurnAlarm",
        "CanaryClickHouseAlarm",
    }


def test_many_slow_queries_burn_their_objective(stack: Watched) -> None:
    queries_are_slow(stack, None)  # type: ignore[arg-type]  # needs no connection
    stack.minutes(1)
    stack.repeat(50 * 60)
    assert alarmed(stack.minutes(1)) == {"QueryFastBurnAlarm", "QueryLatencyAlarm"}
    stack.repeat(2 * HOUR)
    assert alarmed(stack.minutes(1)) == {"QueryFastBurnAlarm", "QueryLatencyAlarm", "QuerySlowBurnAlarm"}


if os.environ.get("SOAK"):  # waits for a transaction to be a quarter of an hour old

    def test_an_old_transaction_raises_its_alarms(
        stack: Watched, connection: psycopg.Connection, database_url: str
    ) -> None:
        stack.due = [stack.copy]
        raised: set[str] = set()
        with psycopg.connect(database_url) as open_connection:
            open_connection.execute("SELECT pg_current_xact_id()")
            for minute in range(18):
                stack.retain()
                raised = alarmed(stack.minutes(1))
                assert "SyncOldestTransactionAlarm" in raised or minute < 7
                time.sleep(60)
        assert {"DatabaseTransactionAlarm", "SyncOldestTransactionAlarm"} <= raised
