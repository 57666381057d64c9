-- The events, as ClickHouse keeps them, with all that the migrations beside this file change. The sync makes the table
-- where it is missing; the comment identifies this very table, so that one that is made anew is filled anew. A row that
-- is sent twice is one row for who reads with FINAL.
-- A TTL, where the retention sets one, drops whole parts: neither it nor a change of it rewrites any.
CREATE TABLE IF NOT EXISTS ai_usage_events {on_cluster}
(
    id             UUID,
    timestamp      DateTime64(6, 'UTC'),
    event          UInt16,
    user_id        UInt64,
    namespace_path String,
    payload        JSON
)
ENGINE = {engine}
PARTITION BY toYYYYMM(timestamp)
ORDER BY (namespace_path, event, timestamp, id)
SETTINGS
    ttl_only_drop_parts = 1,
    materialize_ttl_recalculate_only = 1,
    merge_max_dynamic_subcolumns_in_wide_part = {max_dynamic_paths},
    merge_max_dynamic_subcolumns_in_compact_part = {max_dynamic_paths},
    min_bytes_for_wide_part = 67108864  -- what the sync inserts is one file a part, not several a path of the payload
COMMENT {target}
