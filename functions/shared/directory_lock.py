"""The directory's lock, which whoever changes a fact or what follows from facts holds alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from functions.shared import locks
from functions.shared.postgres import Connection

_LOCK_TOGETHER = "SELECT pg_advisory_xact_lock_shared(%s)"

_LOCK_ALONE = "SELECT pg_advisory_xact_lock(%s)"

_NEXT_VERSION = "UPDATE directory_version SET number = number + 1 RETURNING number"

FOLD_RESTATED = """
    WITH restated AS (
        DELETE FROM restated_facts RETURNING statements
    ),
    senders AS MATERIALIZED (
        SELECT sender.*
        FROM restated, json_to_recordset(statements) AS sender (issuer text, sub text, facts json, names json)
    ),
    fact_times AS (
        SELECT kind.key AS kind, subject.key::bigint AS id, attribute.key AS attribute, scope.key AS scope,
            timestamptz 'epoch' + subject.value::bigint * interval '1 microsecond' AS stated_at, issuer, sub
        FROM senders,
            json_each(facts) AS kind,
            json_each(kind.value) AS attribute,
            json_each(attribute.value) AS scope,
            json_each_text(scope.value) AS subject
    ),
    newest_facts AS (
        SELECT DISTINCT ON (kind, id, attribute, scope) *
        FROM fact_times
        ORDER BY kind, id, attribute, scope, stated_at DESC, issuer COLLATE "C" DESC, sub COLLATE "C" DESC
    ),
    name_times AS (
        SELECT user_id, namespace_path, is_limited,
            timestamptz 'epoch' + microseconds * interval '1 microsecond' AS stated_at, issuer, sub
        FROM senders,
            json_to_recordset(names) AS source (
                namespace_path text, is_limited boolean, users bigint[], times bigint[]
            ),
            unnest(users, times) AS named (user_id, microseconds)
    ),
    newest_names AS (
        SELECT DISTINCT ON (user_id, namespace_path) user_id, namespace_path, stated_at, issuer, sub,
            max(stated_at) FILTER (WHERE NOT is_limited) OVER (PARTITION BY user_id, namespace_path) AS unlimited_at
        FROM name_times
        ORDER BY user_id, namespace_path, stated_at DESC, issuer COLLATE "C" DESC, sub COLLATE "C" DESC
    ),
    updated_names AS (
        UPDATE user_names AS known
        SET stated_at = greatest(known.stated_at, newest.stated_at),
            issuer = CASE
                WHEN (known.stated_at, known.issuer, known.sub) < (newest.stated_at, newest.issuer, newest.sub)
                THEN newest.issuer
                ELSE known.issuer
            END,
            sub = CASE
                WHEN (known.stated_at, known.issuer, known.sub) < (newest.stated_at, newest.issuer, newest.sub)
                THEN newest.sub
                ELSE known.sub
            END,
            unlimited_at = greatest(known.unlimited_at, newest.unlimited_at),
            unlimited_username = CASE
                WHEN (coalesce(known.unlimited_at, '-infinity'), coalesce(known.unlimited_username, ''))
                    < (newest.unlimited_at, known.username)
                THEN known.username
                ELSE known.unlimited_username
            END
        FROM newest_names AS newest
        WHERE known.user_id = newest.user_id
          AND known.namespace_path = newest.namespace_path
          AND (
              (known.stated_at, known.issuer, known.sub) < (newest.stated_at, newest.issuer, newest.sub)
              OR (coalesce(known.unlimited_at, '-infinity'), coalesce(known.unlimited_username, ''))
                  < (newest.unlimited_at, known.username)
          )
    )
    UPDATE facts AS known
    SET stated_at = newest.stated_at, issuer = newest.issuer, sub = newest.sub
    FROM newest_facts AS newest
    WHERE known.kind = newest.kind
      AND known.id = newest.id
      AND known.attribute = newest.attribute
      AND known.scope = newest.scope
      AND (known.stated_at, known.issuer, known.sub) < (newest.stated_at, newest.issuer, newest.sub)
"""
"""Writes the times in `restated_facts` to the facts and names, and empties the table."""


@contextmanager
def shared_directory_lock(connection: Connection) -> Iterator[None]:
    """A transaction under the shared lock: no value of a fact changes, and other batches may restate facts."""
    with connection.transaction():
        connection.execute(_LOCK_TOGETHER, [locks.DIRECTORY])
        yield


@contextmanager
def exclusive_directory_lock(connection: Connection) -> Iterator[None]:
    """A transaction under the exclusive lock: nobody else writes facts, and all restated times are folded in."""
    with connection.transaction():
        connection.execute(_LOCK_ALONE, [locks.DIRECTORY])
        connection.execute(FOLD_RESTATED)
        yield


def next_version(connection: Connection) -> int:
    """Returns a new version number for a change."""
    row = connection.execute(_NEXT_VERSION).fetchone()
    if row is None:
        raise AssertionError("directory_version has one row")
    return int(row[0])
