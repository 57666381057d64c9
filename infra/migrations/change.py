"""`Change`: one difference between definitions and what is deployed, and the stored rows that it would hide."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.postgres import Connection

MAX_COUNTED = 1000

_COUNT = """
    SELECT count(*)
    FROM (
        SELECT
        FROM ai_usage_events
        WHERE (%(event_ids)s::smallint[] IS NULL OR event = ANY(%(event_ids)s::smallint[]))
          AND (%(paths)s::jsonpath[] IS NULL OR payload @? ANY(%(paths)s::jsonpath[]))
        LIMIT %(limit)s
    ) AS found
"""


@dataclass(frozen=True, slots=True)
class Rows:
    """Stored rows that a change is about.

    Attributes:
        event_ids: None for rows of any event type.
        paths: JSON paths, of which the payload must have a value at one; None for any payload.
        only_in_clickhouse: whether ClickHouse may have more such rows, which PostgreSQL does not know.
    """

    event_ids: tuple[int, ...] | None = None
    paths: tuple[str, ...] | None = None
    only_in_clickhouse: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A difference between definitions and what is deployed.

    Attributes:
        sign: `+`, `-` or `~`.
        what: what is added, removed or changed.
        note: what happens to stored rows, if the change hides none.
        rows: rows that would no longer be readable as before; None if the change hides none.
        harm: what happens to these rows.
        problem: why the change is refused.
        advice: what to do instead.
        accept: name by which the change can be accepted.
        newer_release: number of the release that recorded what the definitions lack, if that release is newer.
    """

    sign: str
    what: str
    note: str = ""
    rows: Rows | None = None
    harm: str = ""
    problem: str = ""
    advice: str = ""
    accept: str = ""
    newer_release: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A change with the number of rows that it would hide.

    Attributes:
        count: rows in PostgreSQL, counted up to `MAX_COUNTED`.
    """

    change: Change
    count: int = 0

    @property
    def hides_rows(self) -> bool:
        """Whether stored rows would no longer be readable."""
        return self.count > 0 or (self.change.rows is not None and self.change.rows.only_in_clickhouse)

    @property
    def is_refused(self) -> bool:
        """Whether a deployment refuses the change unless it is accepted."""
        return self.hides_rows and self.change.newer_release is None

    def lines(self) -> list[str]:
        """The change in words, and what happens to stored rows."""
        first = f"{self.change.sign} {self.change.what}"
        if self.change.newer_release is not None:
            return [
                first,
                f"    Release {self.change.newer_release}, which is newer, recorded it. It is left as it is.",
            ]
        if self.change.rows is None:
            return [first, *([f"    {self.change.note}"] if self.change.note else [])]
        if not self.hides_rows:
            return [first, "    No stored rows are affected."]
        return [first, f"    {self._rows()} would be affected: {self.change.harm}.", f"    {self._refusal()}"]

    def problem(self) -> str:
        """Why the change is refused, and what to do instead."""
        return f"{self.change.problem}: {self.change.advice}. {self._rows()} would be affected: {self.change.harm}."

    def _refusal(self) -> str:
        return f"A deployment refuses this unless told to accept {self.change.accept}. Instead, {self.change.advice}."

    def _rows(self) -> str:
        many = " or more" if self.count == MAX_COUNTED else ""
        stored = f"{self.count:,}{many} stored row{'s' if self.count > 1 else ''}"
        if self.change.rows is None or not self.change.rows.only_in_clickhouse:
            return stored
        return (
            f"{stored}, and perhaps rows that only ClickHouse has," if self.count else "Rows that only ClickHouse has"
        )


def find(connection: Connection, changes: Iterable[Change]) -> list[Finding]:
    """Counts the rows that each change would hide."""
    return [Finding(change, _count(connection, change.rows) if change.rows else 0) for change in changes]


def require_accepted(findings: Iterable[Finding], accepted: Collection[str]) -> None:
    """Refuses changes that would hide stored rows, except accepted ones.

    Args:
        accepted: values of `Change.accept`.

    Raises:
        DefinitionError: a line that says how to accept all refused changes, and a line for each.
    """
    refused = [finding for finding in findings if finding.is_refused and finding.change.accept not in accepted]
    if refused:
        names = ",".join(dict.fromkeys(finding.change.accept for finding in refused))
        how = f"To deploy all the same, set ACCEPT_UNREADABLE (parameter AcceptUnreadable) to {names}"
        raise DefinitionError("\n".join([how, *(finding.problem() for finding in refused)]))


def _count(connection: Connection, rows: Rows) -> int:
    values = {
        "event_ids": None if rows.event_ids is None else list(rows.event_ids),
        "paths": None if rows.paths is None else list(rows.paths),
        "limit": MAX_COUNTED,
    }
    found = connection.execute(_COUNT, values).fetchone()
    return int(found[0]) if found else 0
