"""Global ids: each names one object of the whole schema, and `node` finds that object again."""

import re
from typing import NamedTuple

NAMESPACE, PROJECT, USER, EVENT, DATA = "Namespace", "Project", "User", "AiUsageEvent", "AiUsageData"
_FORM = re.compile(r"gid://gitlab/([A-Za-z]{1,40})/(.{1,4000})", re.ASCII)


class GlobalId(NamedTuple):
    """A global id: the type of an object, and what tells it from the others of its type."""

    type: str
    key: str

    def __str__(self) -> str:
        return f"gid://gitlab/{self.type}/{self.key}"


def read_global_id(text: str) -> GlobalId | None:
    """The global id in a text; None if the text is none.

    >>> read_global_id("gid://gitlab/User/1")
    GlobalId(type='User', key='1')
    """
    found = _FORM.fullmatch(text)
    return GlobalId(found[1], found[2]) if found else None
