-- Table of events, including all changes of the migrations beside this file. The sync creates a missing table; the
-- comment identifies this very table, so that a recreated table is filled again. Of the rows with one key, the one of
-- the highest version counts, and none if that one is deleted: readers use FINAL, or the view ai_usage_events_current.
-- A TTL, if the retention sets one, drops whole parts; neither the TTL nor a change of it rewrites parts.
CREATE TABLE IF NOT EXISTS {table} {on_cluster}
(
    id             UUID,
    timestamp      DateTime64(6, 'UTC'),
    event          UInt16,
    user_id        UInt64,
    namespace_path String,
    project_id     UInt64,
    payload        JSON,
    version        UInt64,
    is_deleted     UInt8
)
ENGINE = {engine}(version, is_deleted)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (namespace_path, event, timestamp, id)
SETTINGS
    ttl_only_drop_parts = 1,
    materialize_ttl_recalculate_only = 1,
    merge_max_dynamic_subcolumns_in_wide_part = {max_dynamic_paths},
    merge_max_dynamic_subcolumns_in_compact_part = {max_dynamic_paths},
    min_bytes_for_wide_part = 67108864  -- inserts of the sync stay compact: one file per part instead of several per payload path
COMMENT {target}
