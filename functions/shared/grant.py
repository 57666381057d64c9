"""What a sender or reader may touch."""

import re
from functools import lru_cache
from typing import Annotated

import msgspec

from functions.shared.identifier import IdSpace
from functions.shared.rejection import Rejection, quoted

READ = "events:read"
WRITE = "events:write"
WRITE_OWN = "events:write:own"
DIRECTORY_WRITE = "directory:write"
EVERYTHING = "*"

_TRAVERSAL_PATH = re.compile(r"(?:[1-9][0-9]*/)+")
_MAX_PATH_CHARACTERS = 1024
_MAX_NAME_CHARACTERS = 1024
_MAX_SCOPE_CHARACTERS = 256
_MAX_SCOPES = 100
_MAX_NAMESPACES = 500  # with a grant of this size, a message on the queue still has room for the largest event
_STORABLE = r"\A[^\x00\ud800-\udfff\ufffe\uffff]*\Z"  # what PostgreSQL keeps and SQS takes

type _Name = Annotated[str, msgspec.Meta(max_length=_MAX_NAME_CHARACTERS, pattern=_STORABLE)]
type _Scope = Annotated[str, msgspec.Meta(max_length=_MAX_SCOPE_CHARACTERS, pattern=_STORABLE)]
type _Path = Annotated[str, msgspec.Meta(max_length=_MAX_PATH_CHARACTERS, pattern=_STORABLE)]


def is_traversal_path(path: str) -> bool:
    """Whether `path` is ids from the root, each followed by a slash, like `27/28/`.

    >>> is_traversal_path("27/28/"), is_traversal_path("27/28"), is_traversal_path("gitlab-org/")
    (True, False, False)
    """
    return len(path) <= _MAX_PATH_CHARACTERS and _TRAVERSAL_PATH.fullmatch(path) is not None


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token allows; it travels with the events that were sent with it, and is kept with those that are rejected.

    The limits hold where it is read: from a token, a message or a row.

    Attributes:
        sub: the user's id, as the token writes it.
        scopes: `events:read`, `events:write`, `events:write:own`, `directory:write`.
        namespaces: traversal paths that it may touch, with all below them; `*` for all.
        issuer: who says so, where the token names its issuer.
    """

    sub: _Name
    scopes: Annotated[tuple[_Scope, ...], msgspec.Meta(max_length=_MAX_SCOPES)]
    namespaces: Annotated[tuple[_Path, ...], msgspec.Meta(max_length=_MAX_NAMESPACES)]
    issuer: _Name = ""

    @property
    def is_everywhere(self) -> bool:
        """Whether it may touch every namespace, and what has none."""
        return EVERYTHING in self.namespaces

    @property
    def may_read(self) -> bool:
        """Whether it is for GraphQL."""
        return READ in self.scopes

    @property
    def may_write(self) -> bool:
        """Whether it is for sending events, if only those of its own user."""
        return WRITE in self.scopes or WRITE_OWN in self.scopes

    @property
    def is_unlimited(self) -> bool:
        """Whether it may write for every user in every namespace."""
        return WRITE in self.scopes and self.is_everywhere

    @property
    def is_authoritative(self) -> bool:
        """Whether what its events say of namespaces, projects and users counts: see `directory`.

        A token that writes only its own user's events is handed to people, so `*` alone does not make it one.
        """
        return self.is_unlimited or (DIRECTORY_WRITE in self.scopes and bool(self.namespaces))

    @property
    def root_namespaces(self) -> tuple[str, ...]:
        """The root namespaces of what it may touch, in order; none where it may touch everything or nothing."""
        if self.is_everywhere:
            return ()
        return tuple(sorted({f"{path.partition('/')[0]}/" for path in self.namespaces if is_traversal_path(path)}))

    def covers(self, namespace_path: str | None) -> bool:
        """Whether the namespace is one of the grant's, or below one; what has no namespace is covered by `*` alone."""
        return self.is_everywhere or (namespace_path is not None and namespace_path.startswith(self.namespaces))

    def require_writable(self, user_id: int, namespace_path: str | None) -> None:
        """Lets pass an event of this user in this namespace.

        Raises:
            Rejection: `forbidden_user`, `forbidden_namespace`. A token that writes for all users must cover a
                namespace, also for an event that has none; one that writes its own user's events need not.
        """
        if WRITE not in self.scopes and str(user_id) != self.sub:
            raise Rejection("forbidden_user", f"The token may only write events of its own user, not of {user_id}.")
        if namespace_path is not None and not self.covers(namespace_path):
            raise Rejection("forbidden_namespace", f"The token does not cover the namespace {quoted(namespace_path)}.")
        if WRITE in self.scopes and not self.namespaces:
            raise Rejection("forbidden_namespace", "The token covers no namespace, so it may write events.")


@lru_cache(maxsize=1024)  # a sender has many messages
def id_space_of(grant: Grant) -> IdSpace | None:
    """Where the ids lie that the grant's sender gives to events; None where they are stored as they are sent.

    A tenant is the root namespaces of its tokens, so that any of these may repeat what another one sent. Who may write
    anywhere, or in no namespace, is nobody but a user.
    """
    if grant.is_authoritative:
        return None
    roots = grant.root_namespaces
    return IdSpace(("namespaces", *roots) if roots else ("user", grant.issuer, grant.sub))


TRUSTED = Grant(sub="", scopes=(WRITE,), namespaces=(EVERYTHING,))
"""The grant of what was published straight on the queue, which IAM guards."""
