-- Leaves the canaries of the stack itself out of the view, which migration 3 made with them until then.
CREATE OR REPLACE VIEW ai_usage_events_current {on_cluster} AS
SELECT {columns}
FROM ai_usage_events FINAL
WHERE event != {canary_id}
