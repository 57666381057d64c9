"""Records the definitions of a deployment, for readers of the tables and for the next deployment."""

from collections.abc import Iterable

from functions.shared.catalog.registry import Registry
from functions.shared.postgres import Connection
from infra.migrations.change import Finding
from infra.migrations.deployed import Deployed, digest

_RECORD_RELEASE = """
    INSERT INTO releases (number, digest)
    VALUES (%s, %s)
    ON CONFLICT (number) DO UPDATE SET last_deployed_at = now()
"""

# Event types of newer releases stay as they are. Others stay if rows of them are stored, because their ids are taken.
_KEEP_REMOVED_EVENTS = """
    UPDATE event_types
    SET removed_in = %(release)s
    WHERE removed_in IS NULL AND release <= %(release)s AND id <> ALL(%(defined)s) AND id = ANY(%(stored)s)
"""
_FORGET_EVENTS = """
    DELETE FROM event_types
    WHERE removed_in IS NULL AND release <= %(release)s AND id <> ALL(%(defined)s)
"""
_RECORD_EVENT = """
    INSERT INTO event_types AS known (id, name, feature, deprecated, release)
    VALUES (%(id)s, %(name)s, %(feature)s, %(deprecated)s, %(release)s)
    ON CONFLICT (id) DO UPDATE
    SET name = excluded.name,
        feature = excluded.feature,
        deprecated = excluded.deprecated,
        release = CASE WHEN known.name = excluded.name THEN known.release ELSE excluded.release END,
        removed_in = NULL
"""

# What a newer release declared stays. A key has one type, also where a feature no longer declares the key.
_FORGET_KEYS = """
    UPDATE payload_keys
    SET removed_in = %(release)s
    WHERE removed_in IS NULL AND release <= %(release)s
      AND (feature, path) NOT IN (SELECT * FROM unnest(%(features)s::text[], %(paths)s::text[]))
"""
_RECORD_KEY = """
    INSERT INTO payload_keys AS known (feature, path, type, required, release)
    VALUES (%(feature)s, %(path)s, %(type)s, %(required)s, %(release)s)
    ON CONFLICT (feature, path) DO UPDATE
    SET type = excluded.type,
        required = excluded.required,
        release = CASE
            WHEN (known.type, known.required) = (excluded.type, excluded.required) THEN known.release
            ELSE excluded.release
        END,
        removed_in = NULL
    WHERE known.release <= excluded.release
"""
_RECORD_TYPE = """
    UPDATE payload_keys
    SET type = %(type)s, release = %(release)s
    WHERE path = %(path)s AND type <> %(type)s AND release <= %(release)s
"""


def record(connection: Connection, deployed: Deployed, registry: Registry, findings: Iterable[Finding]) -> int:
    """Records the definitions, and returns the number of their release.

    Args:
        findings: differences between the definitions and what is recorded, all of them accepted.
    """
    release = deployed.release_of(registry)
    stored = [
        event_id
        for finding in findings
        if finding.hides_rows and finding.change.rows
        for event_id in finding.change.rows.event_ids or ()
    ]
    connection.execute(_RECORD_RELEASE, [release, digest(registry)])
    of_events = {"release": release, "defined": list(registry.by_id), "stored": stored}
    connection.execute(_KEEP_REMOVED_EVENTS, of_events)
    connection.execute(_FORGET_EVENTS, of_events)
    events = [
        {
            "id": event.id,
            "name": event.name,
            "feature": event.feature.name,
            "deprecated": event.deprecated,
            "release": release,
        }
        for event in registry.events.values()
    ]
    connection.cursor().executemany(_RECORD_EVENT, events)
    keys = [
        {"feature": feature.name, **key._asdict(), "release": release}
        for feature in registry.features.values()
        for key in feature.declared_keys
    ]
    names = {"features": [key["feature"] for key in keys], "paths": [key["path"] for key in keys]}
    connection.execute(_FORGET_KEYS, {"release": release, **names})
    connection.cursor().executemany(_RECORD_KEY, keys)
    connection.cursor().executemany(_RECORD_TYPE, keys)
    return release
