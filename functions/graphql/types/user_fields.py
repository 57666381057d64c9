"""Fields of `User` beside the id: addresses on the web, and the day of the last activity."""

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from urllib.parse import quote

from ariadne import ObjectType

from functions.graphql.context import Info, RequestContext, UserNode
from functions.graphql.query.aggregation import Aggregation, Dimension, Measure, MeasureKind
from functions.graphql.query.days import FIRST_DAY, LAST_DAY, midnight
from functions.graphql.query.selection import Selection

_LAST_DAY = Measure(MeasureKind.LAST_DAY)


def web_path(username: str | None) -> str | None:
    """The path of a user's page on the web; None if the name is unknown.

    >>> web_path("root")
    '/root'
    """
    return None if username is None else f"/{quote(username, safe='')}"


def web_url(username: str | None, base_url: str | None) -> str | None:
    """The address of a user's page on the web; None if the name or the base of addresses is unknown."""
    path = web_path(username)
    return None if path is None or base_url is None else f"{base_url}{path}"


def last_days(user_ids: Collection[int], context: RequestContext) -> Mapping[int, date]:
    """The day of each user's last event that the token may read; users without such an event are missing.

    Args:
        user_ids: the users on a page, whose days are read at once.
    """
    users = tuple(sorted(set(user_ids)))
    if users not in context.last_days:
        context.last_days[users] = _last_days(users, context) if users else {}
    return context.last_days[users]


def user_type() -> ObjectType:
    """The resolvers of the fields that need more than the user."""
    user = ObjectType("User")
    user.set_field("webPath", lambda node, _: web_path(node.username))
    user.set_field("webUrl", lambda node, info: web_url(node.username, info.context.web_base_url))
    user.set_field("name", _unknown)
    user.set_field("avatarUrl", _unknown)
    user.set_field("lastDuoActivityOn", _last_day)
    return user


def _unknown(_: UserNode, __: Info) -> None:
    """No event says so."""


def _last_day(node: UserNode, info: Info) -> date | None:
    return last_days(node.usernames.user_ids, info.context).get(node.id)


def _last_days(user_ids: tuple[int, ...], context: RequestContext) -> Mapping[int, date]:
    selection = Selection(
        namespaces=context.readable.namespaces,
        start=midnight(FIRST_DAY),
        end=midnight(LAST_DAY + timedelta(days=1)),
        event_ids=tuple(context.registry.use_ids),
        user_ids=user_ids,
    )
    by_user = Aggregation(
        selection, context.registry.feature_of, (_LAST_DAY,), dimensions=(Dimension.USER,), limit=len(user_ids)
    )
    return dict(context.events.aggregate(by_user))
