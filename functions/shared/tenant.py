"""The tenant that a token belongs to: whom events and bytes are counted for, and who shares a limit."""

from functions.shared.grant import Grant

EVERYONE = "*"
NOBODY = "none"
QUEUE = "queue"

_MAX_ROOTS_NAMED = 5


def tenant_of(grant: Grant) -> str:
    """The name of the grant's tenant, which holds ids only.

    It is the root namespaces, like `27/`; `*` where the grant is for everything, `none` where it is for no namespace.

    >>> tenant_of(Grant(sub="1", scopes=(), namespaces=("27/28/", "27/29/")))
    '27/'
    """
    if grant.is_everywhere:
        return EVERYONE
    roots = grant.root_namespaces
    more = f"+{len(roots) - _MAX_ROOTS_NAMED}" if len(roots) > _MAX_ROOTS_NAMED else ""
    return ",".join(roots[:_MAX_ROOTS_NAMED]) + more or NOBODY
