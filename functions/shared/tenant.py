"""Names the tenant of a token, for counting events and bytes and for sharing limits."""

from functions.shared.grant import Grant

EVERYONE = "*"
NOBODY = "none"
QUEUE = "queue"
CANARIES = "canary"

_MAX_ROOTS_NAMED = 5


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
