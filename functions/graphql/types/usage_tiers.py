"""`aiUsageTiers`: users by their number of events."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from functions.graphql.context import Coverage, Info
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.people import Tiers
from functions.graphql.types.sdl import FILTERS, field_of_both
from functions.graphql.types.use import use

DEFAULT_THRESHOLDS = (1, 10, 50, 200)
MAX_THRESHOLDS = 100

_ABOUT = """\
Users of {where} by how many of the selected events they have: a row for each threshold, of the users that have as many
or more, but fewer than the next threshold.
{use_only}\
"""
_ARGUMENTS = f"""\
    "Numbers of events, each the least of a tier: 1, 10, 50 and 200 where they are not given."
    thresholds: [Int!]
{FILTERS}"""

TEXT = f"""
"Users who have about as many events."
type AiUsageTier {{
  "The least number of events."
  minimum: Long!
  "The greatest number of events; null for the last tier."
  maximum: Long
  "How many users have so many."
  usersCount: Long!
}}

{field_of_both("UsageTiers", _ABOUT, _ARGUMENTS, "[AiUsageTier!]!")}"""


class UsageTier(msgspec.Struct, frozen=True):
    """A row of `aiUsageTiers`."""

    minimum: int
    maximum: int | None
    users_count: int


def resolve_usage_tiers(
    coverage: Coverage, info: Info, thresholds: Sequence[int] | None = None, **filters: Any
) -> list[UsageTier]:
    """Resolves `aiUsageTiers`."""
    context = info.context
    least = _ascending(DEFAULT_THRESHOLDS if thresholds is None else thresholds)
    context.budget.take(len(least))
    selection = use(coverage, context, filters)
    if not least:
        return []
    users = dict(context.events.people(Tiers(selection, least)))
    greatest = [following - 1 for _, following in pairwise(least)]
    return [
        UsageTier(minimum, maximum, users.get(tier, 0))
        for tier, (minimum, maximum) in enumerate(zip(least, [*greatest, None], strict=True), start=1)
    ]


def _ascending(thresholds: Sequence[int]) -> tuple[int, ...]:
    """The thresholds in their order, each once."""
    if len(thresholds) > MAX_THRESHOLDS:
        raise InvalidArgument(f"thresholds takes at most {MAX_THRESHOLDS} numbers, not {len(thresholds):,}.")
    for threshold in thresholds:
        if threshold < 1:
            raise InvalidArgument(f"thresholds: a tier has at least 1 event, not {threshold}.")
    return tuple(sorted(set(thresholds)))
