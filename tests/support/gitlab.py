"""The event in GitLab's documentation."""

from typing import Any

from tests.support.clock import NOW

SENT_AT = NOW.replace(microsecond=0)
ACCEPTED: dict[str, Any] = {
    "event": "code_suggestion_accepted_in_ide",
    "additional_properties": {
        "language": "javascript",
        "suggestion_size": 9,
        "timestamp": f"{SENT_AT:%Y-%m-%d %H:%M:%S} UTC",
        "branch_name": "my-new-feature",
    },
    "project_id": 4,
}
ACCEPTED_PAYLOAD = {"language": "javascript", "suggestion_size": 9, "branch_name": "my-new-feature"}
