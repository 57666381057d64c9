"""Lambda function behind `POST /v1/events` and GitLab's endpoints: puts events on the queue."""

from functions.shared.gc_tuning import gc_frozen

with gc_frozen():
    from functions.ingest.api_handler import build
    from functions.shared import settings

    handler = build(
        auth=settings.auth(),
        queue_url=settings.queue_url(),
        retention_months=settings.retention_months(),
        cors_origins=settings.cors_origins(),
        log_level=settings.log_level(),
        limits=settings.tenant_limits(),
    )
