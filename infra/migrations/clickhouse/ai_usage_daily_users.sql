-- What the events of each day add up to, for each user in each namespace and project; see ai_usage_daily_totals.sql.
CREATE TABLE IF NOT EXISTS {table} {on_cluster}
(
    build          UInt64,
    day            Date32,
    namespace_path LowCardinality(String),
    project_id     UInt64,
    event          UInt16,
    user_id        UInt64,
    events         UInt64
)
ENGINE = {engine}
PARTITION BY toYYYYMM(day)
ORDER BY (namespace_path, project_id, event, day, user_id, build)
