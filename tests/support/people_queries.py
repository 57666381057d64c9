"""Queries of the fields about people, and what a model says of them."""

from typing import Any

from tests.support.people_model import PeopleModel
from tests.support.random_events import FILTERS, GIVEN

PEOPLE = f"""
    query ({FILTERS}, $period: AiUsagePeriod!, $thresholds: [Int!], $product: String) {{
        aiInstanceActiveUsers({GIVEN}) {{ date dailyUsersCount weeklyUsersCount monthlyUsersCount stickiness }}
        aiInstanceUserLifecycle({GIVEN}, period: $period) {{
            periodStart newUsersCount returningUsersCount resurrectedUsersCount lapsedUsersCount
        }}
        aiInstanceUserRetention({GIVEN}, period: $period) {{
            cohortStart usersCount periods {{ offset usersCount rate }}
        }}
        aiInstanceUsageTiers({GIVEN}, thresholds: $thresholds) {{ minimum maximum usersCount }}
        aiInstanceSeats(startDate: $startDate, endDate: $endDate, product: $product) {{ date assignedCount }}
        aiInstanceAdoption({GIVEN}, product: $product) {{ feature seatsCount usersCount rate }}
        aiInstanceIdleSeats({GIVEN}, product: $product) {{ nodes {{ user {{ id }} assignedOn }} count }}
        aiInstanceTimeToFirstUse({GIVEN}, product: $product) {{ usersCount medianSeconds p90Seconds }}
    }}
"""
SESSIONS = f"""
    query ({FILTERS}, $groups: [AiUsageDimension!], $paths: [String!]) {{
        aiInstanceSessions({GIVEN}, groupBy: $groups, payloadGroupBy: $paths, first: 1000) {{
            feature event user {{ id }} namespacePath projectId day week month payload
            sessionsCount usersCount completedCount completionRate abandonedCount abandonmentRate
            openCount openRate medianDuration p95Duration
        }}
    }}
"""


def people(
    model: PeopleModel, filters: dict[str, Any], period: str, thresholds: list[int], product: str | None
) -> dict[str, Any]:
    """Returns the expected answer of `PEOPLE`."""
    return {
        "aiInstanceActiveUsers": model.active_users(filters),
        "aiInstanceUserLifecycle": model.lifecycle(filters, period),
        "aiInstanceUserRetention": model.retention(filters, period),
        "aiInstanceUsageTiers": model.tiers(filters, thresholds),
        "aiInstanceSeats": model.seats(filters, product),
        "aiInstanceAdoption": model.adoption(filters, product),
        "aiInstanceIdleSeats": model.idle_seats(filters, product),
        "aiInstanceTimeToFirstUse": model.first_use(filters, product),
    }
