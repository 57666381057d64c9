"""What PostgreSQL's errors mean for an event: whether it is refused as it is, or may be stored later."""

import psycopg

# https://www.postgresql.org/docs/current/errcodes-appendix.html: a view's check, a limit like the size of an index
# entry, and what a trigger raises.
_REFUSING_CLASSES = frozenset({"44", "54", "P0"})


def is_refusal(error: psycopg.Error) -> bool:
    """Whether the rows are at fault, and would be refused again, rather than the state that PostgreSQL is in."""
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return True
    return (error.sqlstate or "")[:2] in _REFUSING_CLASSES


def lacks_partition(error: psycopg.errors.CheckViolation) -> bool:
    """Whether a row belongs to a month without a partition: no constraint that has a name is violated then."""
    return error.diag.constraint_name is None
