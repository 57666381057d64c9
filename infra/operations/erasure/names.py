"""Deletes the names of a user, or what was stated in a namespace, from the directory."""

from functions.ingest.directory.lock import mark_rows_removed
from functions.ingest.directory.subjects import remove_subjects
from functions.ingest.directory.user_names import write_overall_names
from functions.shared.directory_lock import exclusive_directory_lock
from functions.shared.postgres import Connection
from infra.operations.erasure.record import Record, count

_DELETE_NAMES_OF_USER = "DELETE FROM user_names WHERE user_id = %(user_id)s"

_DELETE_USER = "DELETE FROM users WHERE id = %(user_id)s"

# That an operator changed something, and when, is kept; what it was is not.
_EMPTY_CHANGES_OF_USER = """
    UPDATE directory_changes
    SET before = '{}', after = '{}'
    WHERE kind = 'user' AND id = %(user_id)s
"""

_FORGET_EXPORTS = "UPDATE exports SET subject = NULL WHERE kind = 'user' AND subject = %(subject)s"

_EMPTY_CHANGES_WITHIN = """
    UPDATE directory_changes
    SET before = '{}', after = '{}'
    WHERE (kind = 'namespace' AND id = ANY(%(namespace_ids)s)) OR (kind = 'project' AND id = ANY(%(project_ids)s))
"""

_DELETE_NAMES_WITHIN = """
    DELETE FROM user_names
    WHERE namespace_path >= %(low)s AND namespace_path < %(high)s
    RETURNING user_id
"""

# A user whom nobody named elsewhere has no row of `user_names` from which the overall name would follow.
_FORGET_OVERALL_NAMES = """
    UPDATE users
    SET username = NULL
    WHERE id = ANY(%s) AND NOT EXISTS (SELECT FROM user_names WHERE user_id = users.id)
"""


def delete_names(connection: Connection, record: Record) -> None:
    """Deletes what the directory knows of the subject; counts the names in the record.

    Times that wait in `restated_facts` are first folded into the facts, so that none of them outlives its fact.
    """
    with exclusive_directory_lock(connection):
        if record.within.subject.kind == "user":
            _delete_user(connection, record)
        else:
            _delete_within(connection, record)


def _delete_user(connection: Connection, record: Record) -> None:
    values = record.within.subject.values()
    count(connection, record, "names", connection.execute(_DELETE_NAMES_OF_USER, values).rowcount)
    connection.execute(_DELETE_USER, values)
    connection.execute(_EMPTY_CHANGES_OF_USER, values)
    connection.execute(_FORGET_EXPORTS, values)
    mark_rows_removed(connection)


def _delete_within(connection: Connection, record: Record) -> None:
    within = record.within
    named = [user_id for (user_id,) in connection.execute(_DELETE_NAMES_WITHIN, within.subject.values())]
    count(connection, record, "names", len(named))
    if named:
        write_overall_names(named, connection)
        connection.execute(_FORGET_OVERALL_NAMES, [list(set(named))])
    removed = remove_subjects(list(within.directory_subjects()), connection)
    count(connection, record, "namespaces and projects", removed)
    ids = {"namespace_ids": list(within.namespace_ids), "project_ids": list(within.project_ids)}
    connection.execute(_EMPTY_CHANGES_WITHIN, ids)
