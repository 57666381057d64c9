"""Lambda function of the stack's custom resource: examines what a deployment needs, then applies the migrations."""

from functions.shared import settings
from infra.doctor.deployment import require_ready
from infra.migrations.handler import build

handler = build(settings.database_url, settings.retention_months, require_ready)
