"""`NamespaceNode`: a group or project that a token may read, found by its path."""

import msgspec

from functions.graphql.context import Coverage
from functions.graphql.query.store import DirectoryReader
from functions.shared.grant import Grant, is_traversal_path


class NamespaceNode(msgspec.Struct, frozen=True):
    """A group or project that the token may read.

    Attributes:
        path: traversal path; of a project that of its namespace, empty if unknown.
        known_full_path: full path; None if it was not needed to find the namespace.
        coverage: the events of the group and of all below it, or of the project.
    """

    path: str
    known_full_path: str | None
    coverage: Coverage


def find_namespace(grant: Grant, directory: DirectoryReader, full_path: str) -> NamespaceNode | None:
    """The group at a full path or traversal path, else the project at a full path; None if outside the grant."""
    return find_group(grant, directory, full_path) or find_project(grant, directory, full_path)


def find_group(grant: Grant, directory: DirectoryReader, full_path: str) -> NamespaceNode | None:
    """The group at a full path or traversal path; None if unknown or outside the grant."""
    if "\0" in full_path:
        return None  # PostgreSQL refuses such a text
    path = full_path if is_traversal_path(full_path) else directory.path_of(full_path)
    if path is None or not grant.covers(path):
        return None
    return NamespaceNode(path, None if path == full_path else full_path, Coverage((path,)))


def find_project(grant: Grant, directory: DirectoryReader, full_path: str) -> NamespaceNode | None:
    """The project at a full path; None if unknown or outside the grant.

    The project's events are those in its namespace and below: elsewhere, senders of other namespaces may have named the
    project. Only `*` covers a project whose namespace is unknown, and any event may belong to it.
    """
    if "\0" in full_path or is_traversal_path(full_path):
        return None
    project = directory.project_of(full_path)
    if project is None or not grant.covers(project.namespace_path):
        return None
    path = project.namespace_path
    return NamespaceNode(path or "", full_path, Coverage((path,) if path else None, project.id))
