"""Lambda function of the stack's custom resource: applies the migrations at each deployment."""

from functions.shared import settings
from infra.migrations.handler import build

handler = build(settings.database_url, settings.retention_months)
