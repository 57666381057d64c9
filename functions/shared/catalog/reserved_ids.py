"""`reserve_ids`: keeps ids from being used by definitions, without naming events."""

import sys

import msgspec


class ReservedIds(msgspec.Struct, frozen=True):
    """Ids that no definition may use.

    Attributes:
        reason: why, in a few words.
        module: module that reserves the ids.
    """

    ids: tuple[int, ...]
    reason: str
    module: str

    @property
    def file(self) -> str:
        """The file that reserves the ids."""
        return f"{self.module.replace('.', '/')}.py"


def reserve_ids(*ids: int, reason: str) -> None:
    """Reserves ids of event types, for example those that another system uses for events that are not known here.

    A definition that uses one of the ids is refused. Events of these types can't be sent, and none are shown.

        reserve_ids(*range(39, 46), reason="GitLab uses them")

    Args:
        reason: what the message says to whoever uses one of the ids.
    """
    caller = sys._getframe(1).f_globals
    caller.setdefault("__reserved_ids__", []).append(ReservedIds(ids, reason, caller["__name__"]))
