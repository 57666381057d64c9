"""The tenant that a token belongs to: whom events and bytes are counted for, and who shares a limit."""

from functions.shared.grant import Grant, is_traversal_path

EVERYONE = "*"
NOBODY = "none"
QUEUE = "queue"

_MAX_ROOTS_NAMED = 5


def root_namespaces(grant: Grant) -> tuple[str, ...]:
    """The root namespaces of what the grant may touch, in order; none where it may touch everything or nothing."""
    if grant.is_everywhere:
        return ()
    return tuple(sorted({f"{path.partition('/')[0]}/" for path in grant.namespaces if is_traversal_path(path)}))


def tenant_of(grant: Grant) -> str:
    """The name of the grant's tenant, which holds ids only.

    It is the root namespaces, like `27/`; `*` where the grant is for everything, `none` where it is for no namespace.

    >>> tenant_of(Grant(sub="1", scopes=(), namespaces=("27/28/", "27/29/")))
    '27/'
    """
    if grant.is_everywhere:
        return EVERYONE
    roots = root_namespaces(grant)
    more = f"+{len(roots) - _MAX_ROOTS_NAMED}" if len(roots) > _MAX_ROOTS_NAMED else ""
    return ",".join(roots[:_MAX_ROOTS_NAMED]) + more or NOBODY
