"""How many events a tenant may send by HTTPS, as the settings say."""

import re
from collections.abc import Iterator, Mapping

import msgspec

from functions.shared.setting_error import SettingError
from functions.shared.tenant import CANARIES, EVERYONE, MAX_GROUP_CHARACTERS

MINUTE_SECONDS = 60
DAY_SECONDS = 24 * 60 * 60

_WITHOUT_DEFAULT = (EVERYONE, CANARIES)
_GROUP = r"\*|(?:user|roots)-[0-9a-f]+|[1-9][0-9]*/(?:,[1-9][0-9]*/)*"  # see `tenant_group`
_OVERRIDE = re.compile(rf"({_GROUP}):([0-9]{{1,15}})(?::([0-9]{{1,15}}))?")


class Limits(msgspec.Struct, frozen=True):
    """The limits of one group of senders. See `tenant_group`.

    Attributes:
        per_minute: events in a minute; 0 for no limit.
        per_day: events in a day of UTC; 0 for no limit.
    """

    per_minute: int = 0
    per_day: int = 0

    def __bool__(self) -> bool:
        return bool(self.per_minute or self.per_day)

    def windows(self) -> Iterator[tuple[int, int]]:
        """Yields the seconds of each limited period, and the events that it allows."""
        if self.per_minute:
            yield MINUTE_SECONDS, self.per_minute
        if self.per_day:
            yield DAY_SECONDS, self.per_day


NO_LIMITS = Limits()


class TenantLimits(msgspec.Struct, frozen=True):
    """The limits of all senders.

    Attributes:
        default: limits of each group that has none of its own; tokens for `*` have none by default, and canaries never.
        own: limits by group.
        table: DynamoDB table in which the functions count together.
    """

    default: Limits = NO_LIMITS
    own: Mapping[str, Limits] = {}
    table: str = ""

    def __bool__(self) -> bool:
        return bool(self.default) or any(self.own.values())

    def of(self, group: str) -> Limits:
        """Returns the limits of a group."""
        return self.own.get(group, NO_LIMITS if group in _WITHOUT_DEFAULT else self.default)


NO_TENANT_LIMITS = TenantLimits()


def parse_own_limits(text: str, name: str) -> dict[str, Limits]:
    """Returns the limits by group in a text like `27/:60000;9/:600:100000;31/:0`.

    Args:
        text: groups, separated by semicolons, each with its events a minute and, if it has such a limit, a day. 0 means
            no limit. The root namespaces of a group may be in any order.
        name: the setting, for messages.

    Raises:
        SettingError: the text has another form, names what can be no group, or names a group twice.
    """
    own: dict[str, Limits] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        match = _OVERRIDE.fullmatch(entry)
        if match is None or len(match[1]) > MAX_GROUP_CHARACTERS:
            raise SettingError(f"{name} must be like 27/:60000;9/:600:100000, but holds {entry[:100]!r}")
        group = ",".join(sorted(match[1].split(",")))
        if group in own:
            raise SettingError(f"{name} names {group} twice")
        own[group] = Limits(int(match[2]), int(match[3] or 0))
    return own
