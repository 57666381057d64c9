"""Lambda function, invoked once a day: creates the partitions that will be needed, and removes old data."""

from functions.retention.contract.watch import ContractWatch
from functions.retention.handler import build
from functions.retention.retention import Retention
from functions.shared import settings

handler = build(Retention.of_settings(), settings.log_level(), ContractWatch.of_settings())
