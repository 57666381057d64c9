"""Defines grants: which users and namespaces a token may write and read."""

import re
from functools import lru_cache
from typing import Annotated

import msgspec

from functions.shared import canary
from functions.shared.identifier import IdSpace
from functions.shared.rejection import Rejection, quoted
from functions.shared.traversal_path import root_of

READ = "events:read"
READ_OWN = "events:read:own"
WRITE = "events:write"
WRITE_OWN = "events:write:own"
DIRECTORY_WRITE = "directory:write"
CANARY = "canary"
SCOPES = (READ, READ_OWN, WRITE, WRITE_OWN, DIRECTORY_WRITE, CANARY)
EVERYTHING = "*"

_BESIDE_CANARY = frozenset(SCOPES) - {CANARY}
_TRAVERSAL_PATH = re.compile(r"(?:[1-9][0-9]*/)+")
_MAX_PATH_CHARACTERS = 1024
_MAX_NAME_CHARACTERS = 1024
_MAX_SCOPE_CHARACTERS = 256
_MAX_SCOPES = 100
_MAX_NAMESPACES = 500  # leaves room for the largest event in a queue message with such a grant
_USER_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_MAX_USER_ID = 2**63 - 1
_STORABLE = r"\A[^\x00\ud800-\udfff\ufffe\uffff]*\Z"  # characters that PostgreSQL and SQS accept

type _Name = Annotated[str, msgspec.Meta(max_length=_MAX_NAME_CHARACTERS, pattern=_STORABLE)]
type _Scope = Annotated[str, msgspec.Meta(max_length=_MAX_SCOPE_CHARACTERS, pattern=_STORABLE)]
type _Path = Annotated[str, msgspec.Meta(max_length=_MAX_PATH_CHARACTERS, pattern=_STORABLE)]


def is_traversal_path(path: str) -> bool:
    """Whether `path` lists ids from the root, each followed by a slash, like `27/28/`.

    >>> is_traversal_path("27/28/"), is_traversal_path("27/28"), is_traversal_path("gitlab-org/")
    (True, False, False)
    """
    return len(path) <= _MAX_PATH_CHARACTERS and _TRAVERSAL_PATH.fullmatch(path) is not None


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rights that a token gives. A grant is queued with the token's events, and stored with rejected events.

    The length limits are checked whenever a grant is decoded from a token, a message or a row.

    Attributes:
        sub: the user's id as text.
        scopes: `events:read`, `events:read:own`, `events:write`, `events:write:own`, `directory:write`, `canary`.
        namespaces: traversal paths that the token covers, including all namespaces below; `*` for all.
        issuer: the token's issuer; empty if the token names none.
    """

    sub: _Name
    scopes: Annotated[tuple[_Scope, ...], msgspec.Meta(max_length=_MAX_SCOPES)]
    namespaces: Annotated[tuple[_Path, ...], msgspec.Meta(max_length=_MAX_NAMESPACES)]
    issuer: _Name = ""

    @property
    def is_everywhere(self) -> bool:
        """Whether the grant covers every namespace and events without a namespace."""
        return EVERYTHING in self.namespaces

    @property
    def may_read(self) -> bool:
        """Whether the grant allows GraphQL queries, about its namespaces or about its own user."""
        return READ in self.scopes or READ_OWN in self.scopes

    @property
    def reads_own_only(self) -> bool:
        """Whether the grant allows reading the events of its own user alone, wherever these lie."""
        return READ_OWN in self.scopes and READ not in self.scopes

    @property
    def user_id(self) -> int | None:
        """The user's id; None if `sub` is not one, in the only form that events have it in."""
        is_id = _USER_ID.fullmatch(self.sub) and int(self.sub) <= _MAX_USER_ID
        return int(self.sub) if is_id else None

    @property
    def sees_every_name(self) -> bool:
        """Whether a username is shown wherever it was stated, to readers of everything or of themselves."""
        return self.is_everywhere or self.reads_own_only

    @property
    def is_canary(self) -> bool:
        """Whether the grant allows sending canary events and asking for them, and nothing else."""
        return CANARY in self.scopes and _BESIDE_CANARY.isdisjoint(self.scopes)

    @property
    def may_write(self) -> bool:
        """Whether the grant allows sending events: of all users, of its own user, or canaries."""
        return WRITE in self.scopes or WRITE_OWN in self.scopes or self.is_canary

    @property
    def is_unlimited(self) -> bool:
        """Whether the grant allows writing events of every user in every namespace."""
        return WRITE in self.scopes and self.is_everywhere

    @property
    def is_authoritative(self) -> bool:
        """Whether facts about namespaces, projects and users in the sender's events are recorded.

        `*` alone does not suffice: tokens that write only their own user's events are handed to people.
        """
        return self.is_unlimited or (DIRECTORY_WRITE in self.scopes and bool(self.namespaces))

    @property
    def root_namespaces(self) -> tuple[str, ...]:
        """Returns the sorted root namespaces of the grant; empty if the grant covers everything or nothing."""
        if self.is_everywhere:
            return ()
        return tuple(sorted({root_of(path) for path in self.namespaces if is_traversal_path(path)}))

    def covers(self, namespace_path: str | None) -> bool:
        """Whether the grant covers the namespace; only `*` covers events without a namespace (None)."""
        return self.is_everywhere or (namespace_path is not None and namespace_path.startswith(self.namespaces))

    def require_writable(self, user_id: int, namespace_path: str | None) -> None:
        """Checks that the grant allows writing an event of this user in this namespace.

        Raises:
            Rejection: `forbidden_user` or `forbidden_namespace`. A token that writes for all users must cover a
                namespace even if the event has none; a token that writes its own user's events need not. A canary's
                token may write canaries alone.
        """
        if self.is_canary:
            if (user_id, namespace_path) != (canary.USER_ID, canary.NAMESPACE_PATH):
                raise Rejection("forbidden_namespace", "The token of a canary may only write canary events.")
            return
        if WRITE not in self.scopes and str(user_id) != self.sub:
            raise Rejection("forbidden_user", f"The token may only write events of its own user, not of {user_id}.")
        if namespace_path is not None and not self.covers(namespace_path):
            raise Rejection("forbidden_namespace", f"The token does not cover the namespace {quoted(namespace_path)}.")
        if WRITE in self.scopes and not self.namespaces:
            raise Rejection("forbidden_namespace", "The token covers no namespace, so it may not write events.")


@lru_cache(maxsize=1024)  # a sender sends many messages
def id_space_of(grant: Grant) -> IdSpace | None:
    """Returns the id space of the sender's events; None if ids are stored as sent.

    All tokens with the same root namespaces share a space, so that any of them may resend an event. Without root
    namespaces, the space belongs to the user.
    """
    if grant.is_authoritative:
        return None
    roots = grant.root_namespaces
    return IdSpace(("namespaces", *roots) if roots else ("user", grant.issuer, grant.sub))


TRUSTED = Grant(sub="", scopes=(WRITE,), namespaces=(EVERYTHING,))
"""Grant of messages that were published directly on the queue, which IAM protects."""
