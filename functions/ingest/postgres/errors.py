"""Classifies errors of PostgreSQL: rows that are refused for good, or a state that may pass."""

import psycopg

# https://www.postgresql.org/docs/current/errcodes-appendix.html: the check of a view, a limit such as the size of an
# index entry, and errors raised by triggers.
_REFUSING_CLASSES = frozenset({"44", "54", "P0"})


def is_refusal(error: psycopg.Error) -> bool:
    """Whether PostgreSQL would refuse the same rows again, whatever its state."""
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return True
    return (error.sqlstate or "")[:2] in _REFUSING_CLASSES


def lacks_partition(error: psycopg.errors.CheckViolation) -> bool:
    """Whether a row's month has no partition. A violated constraint would have a name."""
    return error.diag.constraint_name is None
