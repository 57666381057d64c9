"""Keeps in ClickHouse what is there beside the events: the directory, and names and views for dashboards."""

from contextlib import closing
from dataclasses import dataclass, field

import msgspec

from functions.shared import clickhouse, locks
from functions.shared.catalog import registry
from functions.shared.postgres import TimeLimits, advisory_lock_released, connect, try_advisory_lock
from functions.shared.secret import UrlSource
from functions.sync import kept_directory
from functions.sync.kept_directory import copy_directory, is_of_another
from functions.sync.known_names import Looks, copy_names
from functions.sync.views import make_views

REFILL = "run `usage-events refill`, or drop the table ai_usage_directory if that PostgreSQL no longer counts"
"""What to do if ClickHouse keeps the directory of another PostgreSQL."""

_GRACE_SECONDS = 10

_RECORDED_FEATURES = "SELECT DISTINCT feature FROM event_types WHERE removed_in IS NULL"


class AnalysisReport(msgspec.Struct):
    """What a run did.

    Attributes:
        tables: number of tables of names that were copied anew.
        views: number of views that were made.
        is_of_another: whether ClickHouse keeps the names and the directory of another PostgreSQL, which stay.
    """

    tables: int = 0
    views: int = 0
    is_of_another: bool = False


@dataclass(frozen=True, slots=True)
class Analysis:
    """Copies the directory and names to ClickHouse, and makes views.

    Attributes:
        cluster: cluster of the replicated tables; None for a single server.
        looks: what earlier runs saw of the names.
        directory_looks: what earlier runs saw of the directory.
    """

    database_url: UrlSource
    clickhouse_url: UrlSource
    cluster: str | None = None
    looks: Looks = field(default_factory=dict)
    directory_looks: kept_directory.Looks = field(default_factory=dict)

    def run(self, seconds: float) -> AnalysisReport:
        """Brings the directory, names and views up to date.

        Does nothing if another sync is running or ClickHouse has no events yet.

        Raises:
            psycopg.Error: the connection to PostgreSQL failed.
            ClickHouseError: the connection to ClickHouse failed, or a statement did; a later run goes on.
        """
        limit = int(seconds) + _GRACE_SECONDS
        report = AnalysisReport()
        options = f"-c idle_session_timeout={limit}s"
        with connect(self.database_url, TimeLimits(limit, limit), options) as control:
            if not try_advisory_lock(control, locks.SYNC):
                return report
            with (
                advisory_lock_released(control, locks.SYNC),
                closing(clickhouse.connect(self.clickhouse_url, limit)) as client,
            ):
                if clickhouse.readable_target_of(client) is None:
                    return report
                report.is_of_another = is_of_another(control, client)
                if not report.is_of_another:
                    copy_directory(control, client, self.cluster, self.directory_looks)
                    report.tables = copy_names(control, client, self.cluster, self.looks)
                    recorded = [name for (name,) in control.execute(_RECORDED_FEATURES)]
                    report.views = make_views(client, registry.load(), self.cluster, recorded)
        return report
