-- A copy of PostgreSQL's directory, and of what else PostgreSQL needs after a loss: a row for each row there, as JSON. The
-- sync copies what has changed. `key` and `hash` are hashes of the row's key and of the whole row in PostgreSQL.
CREATE TABLE IF NOT EXISTS ai_usage_directory {on_cluster}
(
    source     LowCardinality(String),
    key        Int64,
    hash       Int64,
    row        String CODEC(ZSTD(3)),
    version    UInt64,
    is_deleted UInt8
)
ENGINE = {engine}(version, is_deleted)
ORDER BY (source, key)
