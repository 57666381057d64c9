"""Lambda function that is invoked once a day: makes the partitions that will be needed, and removes what is too old."""

from functions.retention.handler import build
from functions.retention.retention import Retention
from functions.shared import settings

handler = build(Retention.of_settings(), settings.log_level())
