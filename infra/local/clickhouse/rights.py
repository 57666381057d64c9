"""Grants ClickHouse's engine access to tables only, not to files or the network.

chDB has no users to create by statements, but reads a configuration at start, as a server does.
"""

import shutil
from pathlib import Path
from uuid import uuid4

DATABASE = "default"

_GRANTS = """
    SHOW, SELECT, INSERT, CHECK, ALTER TABLE, ALTER VIEW, CREATE DATABASE, CREATE TABLE, CREATE VIEW,
    CREATE TEMPORARY TABLE, CREATE TEMPORARY VIEW, DROP DATABASE, DROP TABLE, DROP VIEW, UNDROP TABLE, TRUNCATE,
    OPTIMIZE, KILL QUERY, SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM MOVES, SYSTEM CLEANUP, SYSTEM FLUSH,
    SYSTEM DROP CACHE, SYSTEM WAIT LOADING PARTS
"""

# Engines that keep rows in the data folder, in memory or nowhere. The engine requires a grant only for engines that
# reach further; `statement` refuses all others.
TABLE_ENGINES = (
    "AggregatingMergeTree",
    "Atomic",
    "Buffer",
    "CoalescingMergeTree",
    "CollapsingMergeTree",
    "Join",
    "Log",
    "MaterializedView",
    "Memory",
    "Merge",
    "MergeTree",
    "Null",
    "ReplacingMergeTree",
    "Set",
    "StripeLog",
    "SummingMergeTree",
    "TinyLog",
    "VersionedCollapsingMergeTree",
    "View",
)

# Settings that name a file or an address, contain SQL, or choose another language than SQL.
FIXED_SETTINGS = (
    "additional_result_filter",
    "additional_table_filters",
    "allow_experimental_eval_table_function",
    "cluster_for_parallel_replicas",
    "dialect",
    "filter",
    "format_avro_schema_registry_url",
    "format_schema",
    "format_schema_source",
    "format_template_resultset",
    "format_template_row",
    "input_format_record_errors_file_path",
    "merge_tree_disk",
    "merge_tree_storage_policy",
    "order",
    "output_format_schema",
    "rename_files_after_processing",
    "s3_base",
    "select",
    "sort",
    "url_base",
)

_USERS = """\
<clickhouse>
    <profiles>
        <default>
            <constraints>{constraints}</constraints>
        </default>
    </profiles>
    <quotas><default/></quotas>
    <users>
        <default>
            <password></password>
            <networks><ip>::/0</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>{grants}</grants>
        </default>
    </users>
</clickhouse>
"""
# Without its own default database, chDB loads the database below from the data folder; chDB's own one treats table
# names as file names. No remote host is allowed.
_CONFIGURATION = """\
<clickhouse>
    <users_config>{users}</users_config>
    <default_database></default_database>
    <database>{database}</database>
    <remote_url_allow_hosts></remote_url_allow_hosts>
</clickhouse>
"""


def make_folders(data: Path) -> Path:
    """Creates the data folder with the database `default`; returns an empty folder for rows of inserts."""
    scratch = data.with_name(f"{data.name}-inserts")
    shutil.rmtree(scratch, ignore_errors=True)
    for folder in (data, scratch):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    _define_default_database(data / "metadata")
    return scratch


def configure(scratch: Path) -> Path:
    """Writes the engine's configuration, and returns the file."""
    users, configuration = scratch / "users.xml", scratch / "config.xml"
    grants = [f"GRANT {' '.join(_GRANTS.split())} ON *.*"]
    grants += [f"GRANT TABLE ENGINE ON {engine}" for engine in TABLE_ENGINES]
    users.write_text(
        _USERS.format(
            constraints="".join(f"<{name}><const/></{name}>" for name in FIXED_SETTINGS),
            grants="".join(f"<query>{grant}</query>" for grant in grants),
        )
    )
    configuration.write_text(_CONFIGURATION.format(users=users, database=DATABASE))
    return configuration


def _define_default_database(metadata: Path) -> None:
    """Writes the database's definition, which chDB lacks for its own database; tables stay in place."""
    definition, link = metadata / f"{DATABASE}.sql", metadata / DATABASE
    if definition.exists():
        return
    metadata.mkdir(exist_ok=True)
    identifier = link.readlink().name if link.is_symlink() else str(uuid4())
    definition.write_text(f"ATTACH DATABASE _ UUID '{identifier}'\nENGINE = Atomic\n")
