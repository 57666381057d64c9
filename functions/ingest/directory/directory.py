"""Collects what a batch's events state about namespaces and projects, and finds the namespace of each event."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from copy import copy
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

import msgspec

from functions.ingest.directory.fact import (
    LONG_AGO,
    Facts,
    Kind,
    PropertyName,
    Statement,
    Subject,
    is_placed_by_unlimited,
    newest,
    path_of,
)
from functions.ingest.directory.known_facts import KnownFacts
from functions.ingest.directory.place import place_of, place_of_event
from functions.ingest.event.event import Event
from functions.ingest.event.location import NamespaceReference, ProjectReference, lineage
from functions.shared.grant import Grant
from functions.shared.postgres import Connection
from functions.shared.traversal_path import parent_of


class _Mention(msgspec.Struct):
    """The references in events of one sender, with the time of the newest of these events."""

    namespace: NamespaceReference
    project: ProjectReference
    sender: Grant
    stated_at: datetime
    received_at: datetime


class _Located(NamedTuple):
    """The traversal path of a subject, and whether a sender without a limit stated one."""

    path: str | None
    is_by_unlimited: bool


class BatchDirectory:
    """The namespaces and projects that a batch of events refers to.

    Attributes:
        placed_as_of: version of the directory by which the events were placed; None before that.
        rows: namespace path and project of the batch's rows.
        late_paths: paths that rows or names have although a namespace may have moved from there.
        stated: newest statements of the batch.
    """

    def __init__(self, known: KnownFacts) -> None:
        self._known = known
        self._mentions: dict[tuple[int, int, int], _Mention] = {}
        self._subjects: set[Subject] = set()
        self._paths: dict[Subject, _Located] = {}
        self._parents: dict[tuple[str, int], _Mention] = {}
        self.placed_as_of: int | None = None
        self.rows: set[tuple[str | None, int | None]] = set()
        self.late_paths: set[str] = set()
        self.stated: defaultdict[Subject, dict[tuple[PropertyName, str], Statement]] = defaultdict(dict)

    def add_event(self, event: Event, sender: Grant, received_at: datetime) -> None:
        """Records the event's references."""
        key = (id(event.namespace), id(event.project), id(sender))  # many events share these objects
        mention = self._mentions.get(key)
        if mention is None:
            self._mentions[key] = _Mention(event.namespace, event.project, sender, event.timestamp, received_at)
            return
        if mention.stated_at < event.timestamp:
            mention.stated_at = event.timestamp
        if mention.received_at > received_at:
            mention.received_at = received_at

    def load_known(self, connection: Connection) -> None:
        """Loads the known facts about all recorded references."""
        self._refresh(connection)
        self.collect_statements()
        self._known.read(self._subjects | self.stated.keys(), connection)
        facts = [facts for subject in self.stated for facts in (self.stated[subject], self._known.facts(subject))]
        stated = [one.value for each in facts for (property_name, _), one in each.items() if property_name == "path"]
        self._known.read_places([path for path in stated if path is not None], [], connection)
        self._paths.clear()

    def load_places(self, places: Collection[tuple[str, int | None]], connection: Connection) -> bool:
        """Loads what decides where events are that name these paths and projects.

        Returns:
            Whether any of the events may be elsewhere.
        """
        self._refresh(connection)
        projects = {project for _, project in places if project is not None}
        self._known.read_places({path for path, _ in places}, projects, connection)
        return any(self._known.may_be_elsewhere(path, project) for path, project in places)

    def _refresh(self, connection: Connection) -> None:
        self._known.refresh(connection)
        if self.placed_as_of is None:
            self.placed_as_of = self._known.version

    def moved_path(self, event: Event) -> str | None:
        """Returns where the event belongs if a later move takes it from the path that it names; else that path."""
        path, project = event.explicit_path, event.project.id
        if path is None or not self._known.may_be_elsewhere(path, project):
            return path
        return place_of_event(path, project, event.timestamp, self._known.facts)

    def look_up_projects(self, project_ids: Iterable[int | None], connection: Connection) -> None:
        """Loads further projects, so that `namespace_path` knows them."""
        projects: set[Subject] = {("project", project_id) for project_id in project_ids if project_id is not None}
        self._known.read(projects, connection)

    def namespace_path(self, event: Event, project_id: int | None = None) -> str | None:
        """Returns the traversal path of the event's namespace.

        The path given in the event takes precedence, then the path of its project, then that of its namespace id. A
        path that senders without a limit stated comes before one that only senders with a limit stated.

        Args:
            project_id: project id from a transformation.
        """
        if event.explicit_path is not None:
            return event.explicit_path
        subjects: tuple[tuple[Kind, int | None], ...] = (
            ("project", event.project.id),
            ("project", project_id),
            ("namespace", event.project.namespace.id),
            ("namespace", event.namespace.id),
        )
        first = None
        for kind, number in subjects:
            if number is not None:
                located = self._located((kind, number))
                if located.path is not None and located.is_by_unlimited:
                    return located.path
                first = first or located.path
        return first

    def _located(self, subject: Subject) -> _Located:
        if subject not in self._paths:
            facts = self._facts(subject)
            path = self._known.path(subject)
            if subject in self.stated and path_of(facts) != path_of(self._known.facts(subject)):
                statement = place_of(subject, self._facts)
                path = statement.value if statement else None
            self._paths[subject] = _Located(path, is_placed_by_unlimited(facts))
        return self._paths[subject]

    def _facts(self, subject: Subject) -> Facts:
        return merged(self._known.facts(subject), self.stated.get(subject, {}))

    def collect_statements(self) -> None:
        """Turns the recorded references of authoritative senders into statements."""
        namespaces: dict[tuple[NamespaceReference, int], _Mention] = {}
        for mention in self._mentions.values():
            project, sender = mention.project, mention.sender
            for reference in (mention.namespace, project.namespace):
                if reference.id is not None:
                    _fold(mention, namespaces, (reference, id(sender)))
            if project.id is not None:
                self._subjects.add(("project", project.id))
                if sender.is_authoritative:
                    path = project.namespace.path or mention.namespace.path
                    self._add_statements(("project", project.id), path, project.full_path, mention)
        for (reference, _), mention in namespaces.items():
            subject: Subject = ("namespace", reference.id or 0)
            self._subjects.add(subject)
            if mention.sender.is_authoritative and reference.path is not None:
                self._add_statements(subject, reference.path, reference.full_path, mention)
        self._mentions.clear()
        self._add_known_paths()

    def _add_statements(self, subject: Subject, path: str | None, full_path: str | None, mention: _Mention) -> None:
        limit = limit_of(mention.sender)
        stated = self.stated[subject]
        if path is not None and limit.allows(path):
            _add(stated, ("path", limit.key), _statement(path, mention, limit))
            if not limit.namespaces:
                known_path: tuple[PropertyName, str] = ("known_path", path)
                if known_path not in stated:
                    stated[known_path] = _long_ago(path)
                self._add_parent(parent_of(path), mention)
        if full_path is not None:
            _add(stated, ("full_path", limit.key), _statement(full_path, mention, limit))

    def _add_parent(self, parent: str, mention: _Mention) -> None:
        key = (parent, id(mention.sender))
        if key not in self._parents or self._parents[key].stated_at < mention.stated_at:
            self._parents[key] = mention

    def _add_known_paths(self) -> None:
        for (parent, _), mention in self._parents.items():
            for namespace_id, path in lineage(parent):
                stated = self.stated["namespace", namespace_id]
                _add(stated, ("known_path", path), _statement(path, mention, Limit()))
        self._parents.clear()


def _fold[Key](mention: _Mention, folded: dict[Key, _Mention], key: Key) -> None:
    """Makes one mention of all with the same key, as if their events shared one namespace and project."""
    known = folded.get(key)
    if known is None:
        folded[key] = copy(mention)
        return
    known.stated_at = max(known.stated_at, mention.stated_at)
    known.received_at = min(known.received_at, mention.received_at)


class Limit(msgspec.Struct, frozen=True):
    """The namespaces to which a sender's statements are limited.

    Attributes:
        key: identifies the limit; empty for a sender without a limit.
        namespaces: traversal paths; empty for a sender without a limit.
    """

    key: str = ""
    namespaces: tuple[str, ...] = ()

    def allows(self, path: str) -> bool:
        """Whether the traversal path is within the limit."""
        return not self.namespaces or path.startswith(self.namespaces)


def _statement(value: str, mention: _Mention, limit: Limit) -> Statement:
    sender, received_at = mention.sender, mention.received_at if limit.namespaces else None
    return Statement(value, mention.stated_at, sender.issuer, sender.sub, limit.namespaces, received_at)


def _add(
    stated: dict[tuple[PropertyName, str], Statement], key: tuple[PropertyName, str], statement: Statement
) -> None:
    stated[key] = newest(stated[key], statement) if key in stated else statement


@lru_cache(maxsize=4096)
def _long_ago(path: str) -> Statement:
    return Statement(path, LONG_AGO)


_NO_LIMIT = Limit()


def limit_of(sender: Grant) -> Limit:
    """Returns the limit of an authoritative sender."""
    if sender.is_everywhere:
        return _NO_LIMIT
    namespaces = tuple(sorted(sender.namespaces))
    return Limit(sha256("\n".join(namespaces).encode()).hexdigest(), namespaces)


def merged(facts: Facts, stated: Facts) -> Facts:
    """Returns the facts with newer statements replaced; an older statement changes nothing."""
    result = dict(facts)
    for key, statement in stated.items():
        result[key] = newest(result[key], statement) if key in result else statement
    return result
