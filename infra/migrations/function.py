"""Lambda function of the stack's custom resource: applies the migrations at each deployment."""

from collections.abc import Callable
from typing import Any

from infra.migrations.answer import refusing

handler: Callable[[dict[str, Any], Any], dict[str, Any]]
try:
    from functions.shared import settings
    from infra.migrations.handler import build
except ImportError as error:
    handler = refusing(error)
else:
    handler = build(settings.database_url, settings.retention_months)
