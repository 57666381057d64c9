"""Counts users within windows of days, from the rows of an `Activity` by days."""

from collections.abc import Iterable, Sequence


def users_within(rows: Iterable[tuple[int, int, int]], days: range, width: int) -> Sequence[int]:
    """The number of users within the `width` days that end on each of the days.

    A user counts on the first day of use within a window: the first that no earlier one of the same window precedes.

    Args:
        rows: number of a day, days since the user's previous day of use (0 for none), number of users.
        days: numbers of the days that the windows end on.
    """
    changes = [0] * (len(days) + 1)
    for day, distance, users in rows:
        first = day if distance == 0 else max(day, day - distance + width)
        end = min(day + width, days.stop)
        if max(first, days.start) < end:
            changes[max(first, days.start) - days.start] += users
            changes[end - days.start] -= users
    total, counts = 0, []
    for change in changes[:-1]:
        total += change
        counts.append(total)
    return counts
