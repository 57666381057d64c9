"""`PlanCache`: keeps what was planned for the fields of a document."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from graphql import GraphQLResolveInfo

MAX_PLANS = 10  # of one field, for different values of variables


class _FieldPlans(NamedTuple):
    """Plans of one field, by the JSON of the values of these variables."""

    variables: tuple[str, ...]
    plans: dict[bytes, Any]


class PlanCache:
    """Plans of a document's fields, each for the values of the variables that the plan depends on."""

    def __init__(self) -> None:
        self._plans: dict[tuple[int, ...], _FieldPlans] = {}

    def plan[Plan](
        self,
        info: GraphQLResolveInfo[Any],
        variables_of: Callable[[], Sequence[str]],
        make: Callable[[], Plan],
    ) -> Plan:
        """The plan for the field being resolved.

        Args:
            variables_of: returns the names of the variables that the plan depends on.
            make: makes the plan.
        """
        places = tuple(map(id, info.field_nodes))  # as long as the document lives, no other object has these ids
        known = self._plans.get(places)
        if known is None:
            known = self._plans[places] = _FieldPlans(tuple(variables_of()), {})
        coerced = info.variable_values.coerced
        values = msgspec.json.encode({name: coerced[name] for name in known.variables if name in coerced})
        if values not in known.plans:
            plan = make()
            if len(known.plans) == MAX_PLANS:
                known.plans.clear()
            known.plans[values] = plan
        found: Plan = known.plans[values]
        return found
