from datetime import UTC, datetime

from functions.graphql.postgres.path_counts import MAX_REMEMBERED, PathCounts, Paths

PATHS = Paths(("27/",), datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))


def test_what_was_counted_is_known_for_a_minute() -> None:
    seconds = [100.0]
    counts = PathCounts(lambda: seconds[0])
    assert counts.are_few(PATHS) is None
    counts.remember(PATHS, few=False)
    assert counts.are_few(PATHS) is False
    assert counts.are_few(PATHS._replace(namespaces=("28/",))) is None
    seconds[0] += 60
    assert counts.are_few(PATHS) is None


def test_only_so_many_counts_are_remembered() -> None:
    counts = PathCounts(lambda: 0)
    for number in range(MAX_REMEMBERED + 1):
        counts.remember(PATHS._replace(namespaces=(f"{number}/",)), few=True)
    assert counts.are_few(PATHS._replace(namespaces=("0/",))) is None
    assert counts.are_few(PATHS._replace(namespaces=(f"{MAX_REMEMBERED}/",))) is True
