-- A copy of PostgreSQL's directory, and of what else PostgreSQL needs after a loss: a row for each row there, as JSON. The
-- sync copies what has changed. `key` and `hash` are hashes of the row's key and of the whole row in PostgreSQL. Parts of a
-- source to which nothing is added are merged, so that no row outlives its change for long.
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
PARTITION BY source
ORDER BY (source, key)
SETTINGS min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
