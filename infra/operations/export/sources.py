"""Decides which store an export reads the events of each month from."""

from datetime import datetime
from enum import StrEnum
from itertools import groupby

import msgspec

from functions.shared.partitions import first_moment, later_month, month_of, partition_name, partitions
from functions.shared.postgres import Connection


class Source(StrEnum):
    """Where events are read from."""

    auto = "auto"
    postgresql = "postgresql"
    clickhouse = "clickhouse"


class Segment(msgspec.Struct, frozen=True):
    """A part of a period that is read from one store: from `start` until before `end`."""

    source: Source
    start: datetime
    end: datetime


def segments(
    connection: Connection, start: datetime, end: datetime, source: Source, *, has_clickhouse: bool
) -> list[Segment]:
    """Returns the parts of the period, newest first.

    With `auto`, PostgreSQL gives the months of which it has a partition, because it knows every change at once, and
    ClickHouse the months before.
    """
    if source is not Source.auto or not has_clickhouse:
        only = Source.postgresql if source is Source.auto else source
        return [Segment(only, start, end)]
    kept = set(partitions(connection))
    newest = max(kept, default="")
    month, months = month_of(end.date()), list[tuple[Source, datetime]]()
    while True:
        name, begin = partition_name(month), max(start, first_moment(month))
        in_postgresql = name in kept or name > newest  # no store has events of months that are yet to come
        if begin < end:
            months.append((Source.postgresql if in_postgresql else Source.clickhouse, begin))
        if begin <= start:
            break
        month = later_month(month, -1)
    found, until = list[Segment](), end
    for store, run in groupby(months, key=lambda each: each[0]):
        *_, (_, first) = run
        found.append(Segment(store, first, until))
        until = first
    return found
