-- The events as they are now: what SELECT from the table gives with FINAL, without the canaries of the stack itself.
CREATE OR REPLACE VIEW ai_usage_events_current {on_cluster} AS
SELECT {columns}
FROM ai_usage_events FINAL
WHERE event != {canary_id}
