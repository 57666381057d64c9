"""Checks the arguments of GraphQL fields, and reads them as a `Selection`, a `PageRequest` and paths."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from functions.graphql.context import Coverage
from functions.graphql.global_id import read_global_id
from functions.graphql.query.days import midnight
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.path import Path, read_path
from functions.graphql.query.selection import Selection
from functions.graphql.types.connection import PageRequest
from functions.graphql.types.filters import conditions
from functions.shared.catalog.registry import Registry

DEFAULT_DAYS = 7
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_USER_IDS = 1000
MAX_PROJECT_IDS = 1000
_MAX_ID = 2**63 - 1
_DIGITS = re.compile(r"[0-9]{1,19}")
_GLOBAL_ID = "gid://gitlab/{kind}/"  # begins an id as GitLab's clients write it


def period(start_date: date | None, end_date: date | None, today: date) -> tuple[datetime, datetime]:
    """Start of the first day and end of the last day, in UTC; by default the last seven days.

    Raises:
        InvalidArgument: the last day is before the first.
    """
    end_date = end_date or max(today, start_date or today)
    start_date = start_date or end_date - timedelta(days=DEFAULT_DAYS - 1)
    if end_date < start_date:
        raise InvalidArgument(f"endDate {end_date} is before startDate {start_date}.")
    return midnight(start_date), midnight(end_date + timedelta(days=1))


def page_request(given: Mapping[str, Any]) -> PageRequest:
    """The page that the arguments `first`, `after`, `last` and `before` request.

    Raises:
        InvalidArgument: a size is negative or too large, or the arguments have both directions.
    """
    first, after, last, before = (given.get(name) for name in ("first", "after", "last", "before"))
    backwards = last is not None or before is not None
    if backwards and (first is not None or after is not None):
        raise InvalidArgument("Use either first and after, or last and before, not both.")
    if backwards:
        return PageRequest(size("last", last), before, backwards=True)
    return PageRequest(size("first", first), after)


def paths(name: str, texts: Sequence[str], limit: int) -> tuple[Path, ...]:
    """Parses the paths of the argument `name`.

    Raises:
        InvalidArgument: a text is not a path, or there are more than `limit` texts.
    """
    if len(texts) > limit:
        raise InvalidArgument(f"{name} takes at most {limit} paths, not {len(texts)}.")
    try:
        return tuple(map(read_path, texts))
    except ValueError as error:
        raise InvalidArgument(f"{name}: {error}") from None


def size(name: str, requested: int | None) -> int:
    """The number of nodes or rows that the argument `name` requests; by default `DEFAULT_PAGE_SIZE`.

    Raises:
        InvalidArgument: the number is negative or over `MAX_PAGE_SIZE`.
    """
    if requested is None:
        return DEFAULT_PAGE_SIZE
    if not 0 <= requested <= MAX_PAGE_SIZE:
        raise InvalidArgument(f"{name} must be from 0 to {MAX_PAGE_SIZE}, not {requested}.")
    return requested


def users(user_ids: Sequence[str] | None) -> tuple[int, ...] | None:
    """Parses the argument `userIds`: ids like `1` or `gid://gitlab/User/1`.

    Raises:
        InvalidArgument: an id is not a positive 64-bit integer, or there are more than `MAX_USER_IDS`.
    """
    return _ids("userIds", "User", user_ids, MAX_USER_IDS)


def projects(project_ids: Sequence[str] | None) -> tuple[int, ...] | None:
    """Parses the argument `projectIds`: ids like `4` or `gid://gitlab/Project/4`.

    Raises:
        InvalidArgument: an id is not a positive 64-bit integer, or there are more than `MAX_PROJECT_IDS`.
    """
    return _ids("projectIds", "Project", project_ids, MAX_PROJECT_IDS)


def _ids(name: str, kind: str, texts: Sequence[str] | None, limit: int) -> tuple[int, ...] | None:
    if texts is None:
        return None
    if len(texts) > limit:
        raise InvalidArgument(f"{name} takes at most {limit:,} ids, not {len(texts):,}.")
    plain = [_plain_id(kind, text) for text in texts]
    for given, digits in zip(texts, plain, strict=True):
        if not (_DIGITS.fullmatch(digits) and 0 < int(digits) <= _MAX_ID):
            raise InvalidArgument(f"{name}: {given[:40]!r} is not a {kind.lower()}'s id.")
    return tuple(dict.fromkeys(map(int, plain)))


def _plain_id(kind: str, text: str) -> str:
    """The id in a global id of this kind; any other text unchanged."""
    found = read_global_id(text)
    return found.key if found and found.type == kind else text


def select(coverage: Coverage, registry: Registry, today: date, filters: Mapping[str, Any]) -> Selection:
    """The selection of a field's filters within the coverage.

    Args:
        filters: the arguments `start_date`, `end_date`, `events` (ids), `features` (names), `not` (of both kinds),
            `user_ids`, `project_ids` and `payload`. Each may be missing or None. Other arguments are ignored.

    Raises:
        InvalidArgument: a filter is invalid.
    """
    start, end = period(filters.get("start_date"), filters.get("end_date"), today)
    return Selection(
        namespaces=coverage.namespaces,
        start=start,
        end=end,
        event_ids=_event_ids(registry, filters),
        user_ids=users(filters.get("user_ids")),
        project_ids=_within(coverage, projects(filters.get("project_ids"))),
        conditions=conditions(filters.get("payload") or ()),
    )


def _within(coverage: Coverage, project_ids: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if coverage.project_id is None:
        return project_ids
    return (coverage.project_id,) if project_ids is None or coverage.project_id in project_ids else ()


def _event_ids(registry: Registry, filters: Mapping[str, Any]) -> tuple[int, ...]:
    selected = selected_events(registry, filters.get("events"), filters.get("features"))
    excluded = filters.get("not") or {}
    without = {*(excluded.get("events") or ()), *selected_events(registry, None, excluded.get("features") or ())}
    return tuple(event_id for event_id in selected if event_id not in without)


def selected_events(
    registry: Registry, events: Sequence[int] | None, features: Sequence[str] | None
) -> tuple[int, ...]:
    """The ids of the defined events that the filters select. Stored events without a definition are never selected."""
    return tuple(
        event.id
        for event in registry.by_id.values()
        if (events is None or event.id in events) and (features is None or event.feature.name in features)
    )
