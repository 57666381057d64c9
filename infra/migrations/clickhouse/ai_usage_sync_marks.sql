-- How far PostgreSQL was when rows were copied to a table of events: see functions/sync/marks.py. The highest mark counts.
CREATE TABLE IF NOT EXISTS ai_usage_sync_marks {on_cluster}
(
    target UUID,
    epoch  UInt64,
    mark   UInt64
)
ENGINE = {engine}(mark)
ORDER BY (target, epoch)
