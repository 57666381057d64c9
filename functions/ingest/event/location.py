"""The namespace and project that an event refers to."""

from functools import lru_cache
from typing import Any

import msgspec

from functions.ingest.contract import MAX_ID, LooseId, Namespace, Project
from functions.ingest.event.attributes import text_within
from functions.ingest.event.numeric_id import numeric_id
from functions.shared.grant import is_traversal_path
from functions.shared.rejection import Rejection

_CACHED_LOCATIONS = 8192  # many events refer to few namespaces and projects
_NOT_A_PATH = "A namespace's path must be ids, each followed by a slash, like 27/28/."


class NamespaceReference(msgspec.Struct, frozen=True):
    """A reference to a namespace; attributes that the event does not give are None.

    Attributes:
        id: namespace id.
        path: traversal path, `27/28/`.
        full_path: path with names, `gitlab-org/gitlab`.
    """

    id: int | None = None
    path: str | None = None
    full_path: str | None = None


NO_NAMESPACE = NamespaceReference()


class ProjectReference(msgspec.Struct, frozen=True):
    """A reference to a project; attributes that the event does not give are None.

    Attributes:
        namespace: namespace reference within the project.
    """

    id: int | None = None
    full_path: str | None = None
    namespace: NamespaceReference = NO_NAMESPACE

    @property
    def is_unidentified(self) -> bool:
        """Whether the reference has a full path but no id."""
        return self.id is None and self.full_path is not None


class Location(msgspec.Struct, frozen=True):
    """The namespace and project references of an event.

    Attributes:
        explicit_path: traversal path of the namespace, or of the project's namespace, if the event has one.
    """

    namespace: NamespaceReference
    project: ProjectReference
    explicit_path: str | None


def require_namespace_path(value: Any) -> str:
    """Returns `value` if it is a traversal path.

    Raises:
        Rejection: `value` is not a traversal path (`invalid_namespace`).
    """
    if not isinstance(value, str):
        raise Rejection("invalid_namespace", _NOT_A_PATH)
    namespace_id_of(value)
    return value


@lru_cache(maxsize=4096)  # many events have few namespaces
def namespace_id_of(path: str) -> int:
    """Returns the last id of a traversal path, which is the namespace's own.

    Raises:
        Rejection: `path` is not a traversal path (`invalid_namespace`).
    """
    if is_traversal_path(path):
        namespace_id = int(path[path.rfind("/", 0, -1) + 1 : -1])
        if namespace_id <= MAX_ID:
            return namespace_id
    raise Rejection("invalid_namespace", _NOT_A_PATH)


@lru_cache(maxsize=4096)
def lineage(path: str) -> tuple[tuple[int, str], ...]:
    """Returns id and path of every namespace on a traversal path, root first; omits ids that exceed 64 bits.

    >>> lineage("27/28/")
    ((27, '27/'), (28, '27/28/'))
    """
    ends = [end for end, character in enumerate(path, 1) if character == "/"]
    starts = [0, *ends]
    ids = [int(path[start : end - 1]) for start, end in zip(starts, ends, strict=False)]
    return tuple((number, path[:end]) for number, end in zip(ids, ends, strict=True) if number <= MAX_ID)


@lru_cache(_CACHED_LOCATIONS)
def location_of(
    namespace: Namespace | None,
    namespace_path: str | None,
    namespace_id: LooseId | None,
    project: Project | None,
    project_id: LooseId | None,
    project_path: str | None,
) -> Location:
    """Returns the location that these attributes refer to.

    Raises:
        Rejection: an attribute is malformed or contradicts another one (`invalid_namespace`, `invalid_project`,
            `invalid_text`).
    """
    reference = _namespace(namespace, namespace_path, namespace_id)
    project_reference = _project_reference(project, project_id, project_path)
    return Location(reference, project_reference, reference.path or project_reference.namespace.path)


def _namespace(namespace: Namespace | None, path: str | None, loose_id: LooseId | None) -> NamespaceReference:
    reference = _namespace_reference(namespace, "namespace", "invalid_namespace")
    if path is not None:
        if reference.path not in (None, require_namespace_path(path)):
            raise Rejection("invalid_namespace", "namespace.path and namespace_path name different namespaces.")
        reference = msgspec.structs.replace(reference, path=path, id=reference.id or namespace_id_of(path))
    if loose_id is not None:
        namespace_id = _identifier(loose_id, "namespace_id", "invalid_namespace")
        reference = msgspec.structs.replace(reference, id=reference.id or namespace_id)
        if reference.id != namespace_id:
            raise Rejection("invalid_namespace", "namespace_id is not the namespace's id.")
    if reference.path is not None and reference.id != namespace_id_of(reference.path):
        raise Rejection("invalid_namespace", "The namespace's id is not the last of its path.")
    return reference


def _namespace_reference(namespace: Namespace | None, attribute: str, code: str) -> NamespaceReference:
    if namespace is None:
        return NO_NAMESPACE
    path = namespace.path
    namespace_id = _identifier(namespace.id, f"{attribute}.id", code)
    if path is not None:
        namespace_id = namespace_id or namespace_id_of(path)
        if namespace_id != namespace_id_of(path):
            raise Rejection(code, f"{attribute}.id is not the last id of {attribute}.path.")
    return NamespaceReference(namespace_id, path, _full_path(namespace.full_path, f"{attribute}.full_path", code))


def _project_reference(project: Project | None, loose_id: LooseId | None, project_path: str | None) -> ProjectReference:
    project_id = _identifier(loose_id, "project_id", "invalid_project")
    full_path = _full_path(project_path, "project_path", "invalid_project")
    if project is None:
        return ProjectReference(project_id, full_path)
    own_id = _identifier(project.id, "project.id", "invalid_project")
    if project_id not in (None, own_id):
        raise Rejection("invalid_project", "project.id and project_id name different projects.")
    own_full_path = _full_path(project.full_path, "project.full_path", "invalid_project")
    if None not in (full_path, own_full_path) and full_path != own_full_path:
        raise Rejection("invalid_project", "project.full_path and project_path name different projects.")
    return ProjectReference(
        own_id,
        own_full_path or full_path,
        _namespace_reference(project.namespace, "project.namespace", "invalid_project"),
    )


def _identifier(value: LooseId | None, attribute: str, code: str) -> int | None:
    return None if value is None else numeric_id(value, attribute, code)


def _full_path(value: str | None, attribute: str, code: str) -> str | None:
    if value and is_traversal_path(value):
        raise Rejection(code, f"{attribute} can't be a path of ids.")
    return text_within(value, attribute, code)
