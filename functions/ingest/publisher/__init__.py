"""Sends events from Python programs: in the background, in batches, with retries."""

from functions.ingest.publisher.default import configure, flush, stats, track_event
from functions.ingest.publisher.https_destination import HttpsDestination
from functions.ingest.publisher.limits import Limits
from functions.ingest.publisher.publisher import Publisher
from functions.ingest.publisher.queue_destination import QueueDestination
from functions.ingest.publisher.stats import Stats

__all__ = [
    "HttpsDestination",
    "Limits",
    "Publisher",
    "QueueDestination",
    "Stats",
    "configure",
    "flush",
    "stats",
    "track_event",
]
