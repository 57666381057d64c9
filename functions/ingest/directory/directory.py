"""Collects what a batch's events state about namespaces and projects, and finds the namespace of each event."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec

from functions.ingest.directory.fact import (
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
from functions.ingest.event.event import Event
from functions.ingest.event.location import NamespaceReference, ProjectReference, lineage
from functions.shared.grant import Grant
from functions.shared.postgres import Connection


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
    """The namespaces and projects that a batch of events refers to."""

    def __init__(self, known: KnownFacts) -> None:
        self._known = known
        self._mentions: dict[tuple[int, int, int], _Mention] = {}
        self._subjects: set[Subject] = set()
        self._paths: dict[Subject, _Located] = {}
        self._parents: dict[tuple[str, int], _Mention] = {}
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
        self._known.refresh(connection)
        self.collect_statements()
        self._known.read(self._subjects, connection)
        self._paths.clear()

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
            facts = merged(self._known.facts(subject), self.stated.get(subject, {}))
            statement = path_of(facts)
            self._paths[subject] = _Located(statement.value if statement else None, is_placed_by_unlimited(facts))
        return self._paths[subject]

    def collect_statements(self) -> None:
        """Turns the recorded references of authoritative senders into statements."""
        for mention in self._mentions.values():
            project, is_authoritative = mention.project, mention.sender.is_authoritative
            for reference in (mention.namespace, project.namespace):
                if reference.id is not None:
                    self._subjects.add(("namespace", reference.id))
                    if is_authoritative and reference.path is not None:
                        self._add_statements(("namespace", reference.id), reference.path, reference.full_path, mention)
            if project.id is not None:
                self._subjects.add(("project", project.id))
                if is_authoritative:
                    path = project.namespace.path or mention.namespace.path
                    self._add_statements(("project", project.id), path, project.full_path, mention)
        self._mentions.clear()
        self._add_ancestor_statements()

    def _add_statements(self, subject: Subject, path: str | None, full_path: str | None, mention: _Mention) -> None:
        limit = limit_of(mention.sender)
        stated = self.stated[subject]
        if path is not None and limit.allows(path):
            self._add_statement(stated, "path", path, limit, mention)
            if not limit.namespaces:
                self._add_parent(path[: path.rfind("/", 0, -1) + 1], mention)
        if full_path is not None:
            self._add_statement(stated, "full_path", full_path, limit, mention)

    def _add_parent(self, parent: str, mention: _Mention) -> None:
        key = (parent, id(mention.sender))
        if key not in self._parents or self._parents[key].stated_at < mention.stated_at:
            self._parents[key] = mention

    def _add_ancestor_statements(self) -> None:
        for (parent, _), mention in self._parents.items():
            for namespace_id, path in lineage(parent):
                self._add_statement(
                    self.stated["namespace", namespace_id], "ancestor_path", path, limit_of(mention.sender), mention
                )
        self._parents.clear()

    def _add_statement(
        self,
        stated: dict[tuple[PropertyName, str], Statement],
        property_name: PropertyName,
        value: str,
        limit: "Limit",
        mention: _Mention,
    ) -> None:
        key = (property_name, limit.key)
        statement = Statement(
            value,
            mention.stated_at,
            mention.sender.issuer,
            mention.sender.sub,
            limit.namespaces,
            mention.received_at if limit.namespaces else None,
        )
        stated[key] = newest(stated[key], statement) if key in stated else statement


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


def limit_of(sender: Grant) -> Limit:
    """Returns the limit of an authoritative sender."""
    if sender.is_everywhere:
        return Limit()
    namespaces = tuple(sorted(sender.namespaces))
    return Limit(sha256("\n".join(namespaces).encode()).hexdigest(), namespaces)


def merged(facts: Facts, stated: Facts) -> Facts:
    """Returns the facts with newer statements replaced; an older statement changes nothing."""
    result = dict(facts)
    for key, statement in stated.items():
        result[key] = newest(result[key], statement) if key in result else statement
    return result
