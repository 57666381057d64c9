"""Lambda function, invoked every five minutes: sends a canary event, and waits until GraphQL shows it."""

from functions.canary.handler import build
from functions.shared import settings

handler = build(settings.canary(), settings.log_level())
