"""Checks what the roles of PostgreSQL may do: all that the functions need, and no more.

`infra/migrations/roles.py` gives the rights; a test compares them with what is checked here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from functions.shared.postgres import Connection
from infra.doctor.finding import Finding, Page, failed, listed, ok, warning

_READ, _WRITE = frozenset({"SELECT"}), frozenset({"INSERT", "UPDATE", "DELETE"})
_ALL = (*sorted(_READ | _WRITE), "TRUNCATE", "REFERENCES", "TRIGGER")

_OF_DEPLOYMENTS = frozenset({"alembic_version", "migration_steps", "releases", "payload_keys"})
_OF_OPERATORS = frozenset(
    {"rejected_events", "rejection_history", "erasures", "exports", "directory_changes", "reprocessings"}
)

_REDEPLOY = "Deploy again, or run `usage-events migrate`: a deployment gives the roles their rights."

_ABOUT_ROLE = """
    SELECT
        role.rolsuper,
        role.rolcreaterole,
        pg_has_role('pg_read_all_stats', 'USAGE'),
        current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE'),
        has_database_privilege(current_database(), 'TEMPORARY'),
        current_setting('default_transaction_read_only') = 'on'
    FROM pg_roles role
    WHERE role.rolname = current_user
"""

# Other applications may have tables in the same schema; those of this one belong to the owner of the events.
_TABLES = """
    SELECT
        class.relname,
        class.relispartition,
        pg_has_role(class.relowner, 'USAGE'),
        array(SELECT privilege FROM unnest(%s::text[]) privilege WHERE has_table_privilege(class.oid, privilege))
    FROM pg_class class
    JOIN pg_class events ON events.oid = to_regclass('ai_usage_events')
    WHERE class.relkind IN ('r', 'p')
        AND class.relnamespace = events.relnamespace
        AND class.relowner = events.relowner
    ORDER BY class.relname
"""

_MAY_MAKE_PARTITIONS = """
    SELECT bool_and(has_function_privilege(oid, 'EXECUTE')) FROM pg_proc WHERE proname = 'make_event_partition'
"""


@dataclass(frozen=True, slots=True)
class _About:
    """What the catalog says of the current role."""

    is_superuser: bool
    may_make_roles: bool
    sees_transactions: bool
    may_create: bool
    may_stage: bool
    is_read_only: bool


@dataclass(frozen=True, slots=True)
class _Table:
    """A table and what the current role may do with it."""

    name: str
    is_partition: bool
    is_own: bool
    privileges: frozenset[str]


def check_role(connection: Connection, kind: str, *, has_roles: bool) -> Iterator[Finding]:
    """Yields what the role of the connection lacks, and what it may beyond its needs.

    Args:
        kind: `owner`, `writer` or `reader`.
        has_roles: whether there are a writer and a reader, which the owner has to make.
    """
    check = f"PostgreSQL, {kind}: privileges"
    row = connection.execute(_ABOUT_ROLE).fetchone()
    if row is None:
        raise AssertionError("the current role is in pg_roles")
    about, tables = _About(*row), _tables(connection)
    if kind == "owner":
        found = list(_check_owner(check, about, tables, has_roles=has_roles))
    else:
        makes_partitions = connection.execute(_MAY_MAKE_PARTITIONS).fetchone() == (True,)
        found = list(_check_other(check, kind, about, tables, makes_partitions=makes_partitions))
    yield from found or [ok(check, "all that is needed, and no more")]


def _tables(connection: Connection) -> list[_Table]:
    rows = connection.execute(_TABLES, [list(_ALL)])
    return [_Table(name, is_partition, is_own, frozenset(rights)) for name, is_partition, is_own, rights in rows]


def _check_owner(check: str, about: _About, tables: list[_Table], *, has_roles: bool) -> Iterator[Finding]:
    if not about.may_create:
        remedy = "Make the role the owner of the schema, or GRANT CREATE ON SCHEMA to it."
        yield failed(check, "may not create tables in its schema, as the migrations do", remedy, Page.NEEDS)
    if foreign := [table.name for table in tables if not table.is_own]:
        remedy = "Give the tables to this role with ALTER TABLE … OWNER TO, or use the role that made them."
        yield failed(check, f"does not own {listed(foreign)}, so it can't change them", remedy, Page.NEEDS)
    if not about.may_stage:
        yield failed(check, "may not make temporary tables", "GRANT TEMPORARY ON DATABASE to the role.", Page.NEEDS)
    if has_roles and not about.may_make_roles and not about.is_superuser:
        remedy = "Give the role CREATEROLE, or make the roles by hand, and see what a deployment logs."
        yield warning(check, "may not make the roles of functions", remedy, Page.ROLES)
    if not about.sees_transactions:
        yield _blind(check)
    if about.is_superuser:
        remedy = "Nothing on a local stack. Elsewhere use a role that owns the database, and nothing else."
        yield warning(check, "is a superuser, which it need not be", remedy, Page.ROLES)


def _check_other(
    check: str, kind: str, about: _About, tables: list[_Table], *, makes_partitions: bool
) -> Iterator[Finding]:
    is_writer = kind == "writer"
    if about.is_superuser:
        remedy = "Make a role for these functions alone: a deployment makes one under a name that is free."
        yield warning(check, "is a superuser, so nothing is denied", remedy, Page.ROLES)
        return
    needed = _needed_by_writer if is_writer else _needed_by_reader
    lacking, excess = _differences(tables, needed)
    if is_writer and tables and not makes_partitions:
        lacking.append("EXECUTE make_event_partition")
    if is_writer and not about.may_stage:
        lacking.append("TEMPORARY on the database")
    if not tables:
        lacking.append("any table of the migrations")
    if lacking:
        yield failed(check, f"lacks {listed(lacking)}", _REDEPLOY, Page.ROLES)
    if is_writer and not about.sees_transactions:
        yield _blind(check)
    if not is_writer and makes_partitions:
        excess.append("EXECUTE make_event_partition")
    excess += ["CREATEROLE"] * about.may_make_roles + ["CREATE in the schema"] * about.may_create
    if excess:
        remedy = "Revoke what nobody needs: what the functions do, they can do without."
        yield warning(check, f"may more than it needs: {listed(excess)}", remedy, Page.ROLES)
    if not is_writer and not about.is_read_only:
        yield warning(check, "its transactions are not read-only by default", _REDEPLOY, Page.ROLES)


def _differences(tables: list[_Table], needed: Callable[[_Table], frozenset[str]]) -> tuple[list[str], list[str]]:
    """Returns the rights that are missing and those that are too many, like `INSERT users`."""
    lacking, excess = list[str](), list[str]()
    for table in tables:
        wanted = needed(table)
        # A partition is read and written through its table, unless the role has rights to the partition as well.
        lacking += [f"{right} {table.name}" for right in sorted(wanted - table.privileges) if not table.is_partition]
        excess += [f"{right} {table.name}" for right in sorted(table.privileges - wanted)]
    return lacking, excess


def _needed_by_writer(table: _Table) -> frozenset[str]:
    return _READ if table.name in _OF_DEPLOYMENTS else _READ | _WRITE


def _needed_by_reader(table: _Table) -> frozenset[str]:
    return frozenset() if table.name in _OF_OPERATORS else _READ


def _blind(check: str) -> Finding:
    remedy = "GRANT pg_read_all_stats to the role, if other applications write to this database too."
    return warning(check, "can't see since when other roles' transactions have been open", remedy, Page.NEEDS)
