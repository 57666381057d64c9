"""Lambda function of the stack's custom resource: examines what a deployment needs, then applies the migrations."""

from collections.abc import Callable
from typing import Any

from infra.migrations.answer import refusing

handler: Callable[[dict[str, Any], Any], dict[str, Any]]
try:
    from functions.shared import settings
    from infra.doctor.deployment import require_ready
    from infra.migrations.handler import build
except ImportError as error:
    handler = refusing(error)
else:
    handler = build(settings.database_url, settings.retention_months, require_ready)
