"""Names the tenant of a token, for counting events and bytes and for sharing limits."""

from hashlib import sha256

from functions.shared.grant import Grant

EVERYONE = "*"
NOBODY = "none"
QUEUE = "queue"
CANARIES = "canary"

MAX_GROUP_CHARACTERS = 128
"""Longest `MessageGroupId` that SQS accepts."""

_OF_A_USER = "user-"
_USER = "user"
_MAX_ROOTS_NAMED = 5
_HASH_CHARACTERS = 32


def tenant_of(grant: Grant) -> str:
    """Returns the name of the grant's tenant, which consists of ids only.

    The name lists the root namespaces, like `27/`; `*` if the grant covers everything, `none` if it covers no
    namespace, `canary` if it is of canaries.

    >>> tenant_of(Grant(sub="1", scopes=(), namespaces=("27/28/", "27/29/")))
    '27/'
    """
    if grant.is_canary:
        return CANARIES
    if grant.is_everywhere:
        return EVERYONE
    roots = grant.root_namespaces
    more = f"+{len(roots) - _MAX_ROOTS_NAMED}" if len(roots) > _MAX_ROOTS_NAMED else ""
    return ",".join(roots[:_MAX_ROOTS_NAMED]) + more or NOBODY


def tenant_group(grant: Grant) -> str:
    """Returns the name of those who share a rate and a turn in the queue: all senders with the same root namespaces.

    A token without root namespaces that writes its own user's events alone forms a group with that user's other tokens.
    The name has at most `MAX_GROUP_CHARACTERS` characters, and no id of a user.

    >>> tenant_group(Grant(sub="1", scopes=(), namespaces=("27/28/", "9/")))
    '27/,9/'
    """
    if grant.is_unlimited:
        return EVERYONE
    roots = ",".join(grant.root_namespaces)
    if not roots:
        return f"{_OF_A_USER}{_hashed(f'{grant.issuer} {grant.sub}')}"
    return roots if len(roots) <= MAX_GROUP_CHARACTERS else f"roots-{_hashed(roots)}"


def logged_group(group: str) -> str:
    """Returns what the log calls a group of senders: `user` for that of any user.

    Ids of users are few, so whoever reads the log could find the one of a hash by trying them all.
    """
    return _USER if group.startswith(_OF_A_USER) else group


def _hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]
