-- Events as they are now, with the names that people know: for dashboards and notebooks. The sync makes one view of all
-- events, and one for each feature with its payload's keys as typed columns.
CREATE OR REPLACE VIEW {view} {on_cluster} AS
SELECT
    stored.id AS id,
    stored.timestamp AS timestamp,
    nullIf(types.name, '') AS event,
    nullIf(types.feature, '') AS feature,
    stored.event AS event_id,
    stored.user_id AS user_id,
    nullIf(users.username, '') AS username,
    stored.namespace_path AS namespace_path,
    nullIf(namespaces.full_path, '') AS namespace_full_path,
    nullIf(stored.project_id, 0) AS project_id,
    nullIf(projects.full_path, '') AS project_full_path,
    {payload}
FROM ai_usage_events AS stored FINAL
ANY LEFT JOIN (
    SELECT id, name, feature
    FROM ai_usage_event_types
    WHERE build = (SELECT max(build) FROM ai_usage_event_types)
) AS types ON types.id = stored.event
ANY LEFT JOIN (
    SELECT id, username
    FROM ai_usage_users
    WHERE build = (SELECT max(build) FROM ai_usage_users)
) AS users ON users.id = stored.user_id
ANY LEFT JOIN (
    SELECT path, full_path
    FROM ai_usage_namespaces
    WHERE build = (SELECT max(build) FROM ai_usage_namespaces)
) AS namespaces ON namespaces.path = stored.namespace_path
ANY LEFT JOIN (
    SELECT id, full_path
    FROM ai_usage_projects
    WHERE build = (SELECT max(build) FROM ai_usage_projects)
) AS projects ON projects.id = stored.project_id
WHERE {condition}
COMMENT {comment}
