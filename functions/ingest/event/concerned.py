"""Finds the users and namespaces that a text concerns, also if the text can't be stored as an event."""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

import msgspec

from functions.ingest.contract import MAX_ID, MAX_ID_DIGITS
from functions.ingest.formats.compression import TooLarge
from functions.ingest.formats.table import events_in, unwrapped
from functions.shared.grant import Grant, is_traversal_path
from functions.shared.rejection import Rejection

# The user of an event, in a text that is not JSON: `"user_id": 5`, `"user": {"id": 5`.
_USER_IN_TEXT = re.compile(
    r'"user_id"\s*:\s*"?([1-9][0-9]{0,18})\b|"user"\s*:\s*\{[^{}]{0,1000}?"id"\s*:\s*"?([1-9][0-9]{0,18})\b'
)

_decoder = msgspec.json.Decoder(dict[str, Any])


class Concerned(NamedTuple):
    """The users and namespaces that an event names, or that its sender stands for if it names none.

    Attributes:
        paths: traversal paths of namespaces.
        namespace_ids: ids of namespaces; they count only if no path is known.
        project_ids: ids of projects; they count only if no path is known.
    """

    user_ids: frozenset[int] = frozenset()
    paths: frozenset[str] = frozenset()
    namespace_ids: frozenset[int] = frozenset()
    project_ids: frozenset[int] = frozenset()

    def lies_within(
        self,
        path: str,
        namespace_ids: Set[int],
        project_ids: Set[int],
        former_paths: tuple[str, ...] = (),
        former_places: Set[tuple[int, str]] = frozenset(),
    ) -> bool:
        """Whether the event lies within a namespace.

        Args:
            path: traversal path of the namespace.
            namespace_ids: ids of the namespaces within it, itself included.
            project_ids: ids of the projects within it.
            former_paths: paths at which these namespaces were before they moved.
            former_places: id and former path of each of these projects that moved.
        """
        if self.paths:
            return any(
                own.startswith((path, *former_paths))
                or any((project, own) in former_places for project in self.project_ids)
                for own in self.paths
            )
        return not (self.namespace_ids.isdisjoint(namespace_ids) and self.project_ids.isdisjoint(project_ids))


def concerned_by(body: str, grant: Grant | None) -> list[Concerned]:
    """Returns what each event of a rejected body concerns, by the ingest's own reading.

    In a text that can't be read, everything that looks like the user of an event counts.

    Args:
        grant: the sender's grant; None if the body was sent directly to the queue, and so may hold several events.
    """
    events = [body.encode(errors="replace")] if grant else _events(body)
    found = []
    for event in events:
        try:
            found.append(_of_event(_decoder.decode(event), grant))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found += _of_text(event.decode(errors="replace"), grant)
    return found


def _events(body: str) -> list[bytes]:
    """Returns the events of a message; the whole body if it can't be split."""
    text = body.encode(errors="replace")
    try:
        return [bytes(raw) for raw in events_in(unwrapped(text, "")[0]).raw]
    except (Rejection, TooLarge):
        return [text]


def _of_event(content: Mapping[str, Any], grant: Grant | None) -> Concerned:
    """Returns what an event concerns; malformed attributes are skipped."""
    levels = [content, _object(content.get("data"))]  # a CloudEvent that could not be converted has `data`
    users, paths, namespaces, projects = [], [], [], []
    for level in levels:
        user, project = _object(level.get("user")), _object(level.get("project"))
        users += [user.get("id"), level.get("user_id")]
        places = [_object(level.get("namespace")), _object(project.get("namespace"))]
        paths += [level.get("namespace_path"), *(place.get("path") for place in places)]
        namespaces += [level.get("namespace_id"), *(place.get("id") for place in places)]
        projects += [level.get("project_id"), project.get("id")]
    users.append(content.get("subject"))
    named = Concerned(
        frozenset(_ids(users)),
        frozenset(path for path in paths if isinstance(path, str) and is_traversal_path(path)),
        frozenset(_ids(namespaces)),
        frozenset(_ids(projects)),
    )
    return _completed(named, grant, names_a_user=any(value is not None for value in users))


def _of_text(text: str, grant: Grant | None) -> list[Concerned]:
    users = {int(first or second) for first, second in _USER_IN_TEXT.findall(text)}
    concerned = [Concerned(frozenset({user})) for user in users] or [Concerned()]
    return [_completed(one, grant, names_a_user=bool(users)) for one in concerned]


def _completed(concerned: Concerned, grant: Grant | None, *, names_a_user: bool) -> Concerned:
    """Adds the sender's user if the event names none, and the sender's only namespace if the event names no place."""
    if grant is None:
        return concerned
    if not names_a_user:
        concerned = concerned._replace(user_ids=frozenset(_ids([grant.sub])))
    names_a_place = concerned.paths or concerned.namespace_ids or concerned.project_ids
    if not names_a_place and len(grant.namespaces) == 1 and not grant.is_everywhere:
        concerned = concerned._replace(paths=frozenset(grant.namespaces))
    return concerned


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _ids(values: list[Any]) -> Iterator[int]:
    """Yields the values that are ids, as a number or as text."""
    for value in values:
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= MAX_ID_DIGITS:
            value = int(value)
        is_whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
        if is_whole and 1 <= value <= MAX_ID:
            yield int(value)
