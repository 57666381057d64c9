-- A copy of names that PostgreSQL has: of event types, users, namespaces or projects. The sync copies all of them anew when
-- one has changed: the rows of the highest build count, and those of other builds are about to be dropped.
CREATE TABLE IF NOT EXISTS {table} {on_cluster}
(
    build  UInt64,
    digest UInt64,
    {columns}
)
ENGINE = {engine}
PARTITION BY build
ORDER BY {key}
