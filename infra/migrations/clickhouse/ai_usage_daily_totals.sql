-- What the events of each day add up to, for each scope: the whole instance (an empty scope), a namespace with all below
-- it, or (if the project is not 0) a project within exactly one namespace. PostgreSQL's table rollup_days knows which
-- build of a day counts. The sync adds a column for each sum and each list of distinct values that a definition declares.
CREATE TABLE IF NOT EXISTS {table} {on_cluster}
(
    build      UInt64,
    day        Date32,
    project_id UInt64,
    scope      LowCardinality(String),
    event      UInt16,
    events     UInt64,
    users      AggregateFunction(groupBitmap, UInt64) CODEC(ZSTD(1))
)
ENGINE = {engine}
PARTITION BY toYYYYMM(day)
ORDER BY (project_id, scope, event, day, build)
SETTINGS index_granularity = 256  -- a query reads the rows of few scopes, and each row may hold thousands of users
