-- Copies events of some hours to the table that is made anew with versions, which an engine can't be given later. Rows
-- of version 0 are replaced by whatever the sync copies. The project is what `fill_projects` finds in PostgreSQL.
-- PREWHERE selects the hours before FINAL, which is right because all rows with one key have one timestamp.
INSERT INTO {new} (id, timestamp, event, user_id, namespace_path, project_id, payload, version, is_deleted)
SELECT
    id,
    timestamp,
    event,
    user_id,
    namespace_path,
    if(
        match(
            ifNull(toString(payload.project_id.:Int64), ifNull(payload.project_id.:String, '')) AS project,
            '^[1-9][0-9]{{0,18}}$'
        ) AND toUInt64OrZero(project) < 9223372036854775808,
        toUInt64OrZero(project),
        0
    ) AS project_id,
    payload,
    0,
    0
FROM ai_usage_events FINAL
PREWHERE timestamp >= toDateTime({{start:UInt32}}, 'UTC') AND timestamp < toDateTime({{end:UInt32}}, 'UTC')
