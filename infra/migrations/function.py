"""Lambda function behind the stack's custom resource: applies the migrations whenever the stack is deployed."""

from functions.shared import settings
from infra.migrations.handler import build

handler = build(settings.database_url, settings.retention_months)
