"""Events that the API itself rejects, each with the code of its rejection."""

import json
from datetime import timedelta
from typing import Any

from functions.shared.identifier import derived_id
from functions.shared.timestamp import format_timestamp, months_before
from tests.support.clock import NOW


def chat(attributes: dict[str, Any]) -> bytes:
    """Returns a valid event with `attributes` added."""
    return json.dumps({"event": "request_duo_chat_response", "user_id": 1} | attributes).encode()


BAD_EVENTS: list[tuple[bytes, str]] = [
    (json.dumps(5).encode(), "not_an_object"),
    (json.dumps([]).encode(), "not_an_object"),
    (json.dumps(None).encode(), "not_an_object"),
    (b'{"event": "request_duo', "invalid_json"),
    (b'[{"event": "request_duo_chat_response", "user_id": 1}, {"eve', "invalid_json"),
    (b'{"event": 7, "us', "invalid_json"),
    (b'{"event": "request_duo_chat_response", "a": "\xff"}', "invalid_json"),
    (b'{"event": "request_duo_chat_response", "user_id": 1, "a": "\\ud83d"}', "invalid_json"),
    (json.dumps({}).encode(), "invalid_event"),
    (json.dumps({"event": None}).encode(), "invalid_event"),
    (json.dumps({"event": 7}).encode(), "invalid_event"),
    (json.dumps({"event": "unknown"}).encode(), "unknown_event"),
    (json.dumps({"event": "code_suggestions_requested", "user_id": 1}).encode(), "deprecated_event"),
    (chat({"user": None, "user_id": None}), "invalid_user"),
    (chat({"user_id": 0}), "invalid_user"),
    (chat({"user_id": -1}), "invalid_user"),
    (chat({"user_id": 2**63}), "invalid_user"),
    (chat({"user_id": "x"}), "invalid_user"),
    (chat({"user_id": 1.5}), "invalid_user"),
    (chat({"user_id": True}), "invalid_user"),
    (chat({"user": {"id": 0}}), "invalid_user"),
    (chat({"user": {"id": "root"}}), "invalid_user"),
    (chat({"user": {}}), "invalid_user"),
    (chat({"user": "root"}), "invalid_user"),
    (chat({"user": {"id": 2}}), "invalid_user"),
    (chat({"user": {"id": 1, "username": 1}}), "invalid_user"),
    (chat({"user": {"id": 1, "username": "x" * 1001}}), "invalid_user"),
    (chat({"id": "no uuid"}), "invalid_id"),
    (chat({"id": 1}), "invalid_id"),
    (chat({"timestamp": "nonsense"}), "invalid_timestamp"),
    (chat({"timestamp": []}), "invalid_timestamp"),
    (chat({"timestamp": True}), "invalid_timestamp"),
    (chat({"additional_properties": {"timestamp": "nonsense"}}), "invalid_timestamp"),
    (chat({"additional_properties": 1}), "invalid_additional_properties"),
    (chat({"timestamp": format_timestamp(months_before(NOW, 3) - timedelta(hours=1))}), "timestamp_out_of_range"),
    (chat({"timestamp": format_timestamp(months_before(NOW, 4))}), "timestamp_out_of_range"),
    (chat({"timestamp": format_timestamp(NOW + timedelta(days=2))}), "timestamp_out_of_range"),
    (chat({"id": str(derived_id(NOW + timedelta(days=2), "", 0))}), "timestamp_out_of_range"),
    (chat({"id": "ffffffff-ffff-7fff-bfff-ffffffffffff"}), "timestamp_out_of_range"),
    (chat({"filler": "x" * 65536}), "too_large"),
    (chat({"a": "nul\0"}), "invalid_text"),
    (chat({"a": {"nul\0": 1}}), "invalid_text"),
    (chat({"a": 2**64}), "number_out_of_range"),
    (chat({"a": [-(2**63) - 1]}), "number_out_of_range"),
    (b'{"event": "request_duo_chat_response", "user_id": 1, "a": 1e309}', "number_out_of_range"),
    (b'{"event": "request_duo_chat_response", "timestamp": 1e309}', "number_out_of_range"),
    (b'{"event": "request_duo_chat_response", "user_id": 1, "a": ' + b"1" * 5_000 + b"}", "number_out_of_range"),
    (b'{"event": "request_duo_chat_response", "user_id": ' + b"1" * 5_000 + b"}", "number_out_of_range"),
    (chat({"project_id": "1" * 5_000}), "invalid_project"),
    (b'{"event": "request_duo_chat_response", "user_id": 1, "a": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "too_deep"),
    (b'{"event": "", "a": ' + b"[" * 9_000 + b'"\\u0000"' + b"]" * 9_000 + b"}", "too_deep"),
    (chat({"namespace_path": "27/28"}), "invalid_namespace"),
    (chat({"namespace_path": "gitlab-org/"}), "invalid_namespace"),
    (chat({"namespace_path": "0/"}), "invalid_namespace"),
    (chat({"namespace_path": f"{2**63}/"}), "invalid_namespace"),
    (chat({"namespace_path": "1/" * 513}), "invalid_namespace"),
    (chat({"namespace": {"path": ""}}), "invalid_namespace"),
    (chat({"namespace": {"path": "27/28/", "id": 27}}), "invalid_namespace"),
    (chat({"namespace": {"path": "27/28/"}, "namespace_id": 27}), "invalid_namespace"),
    (chat({"namespace": {"path": "27/28/"}, "namespace_path": "27/29/"}), "invalid_namespace"),
    (chat({"namespace": {"path": "27/28/", "full_path": "27/28/"}}), "invalid_namespace"),
    (chat({"namespace": {"full_path": "ä" * 501}}), "invalid_namespace"),
    (chat({"namespace": "27/28/"}), "invalid_namespace"),
    (chat({"namespace_id": "x"}), "invalid_namespace"),
    (chat({"project_id": "x"}), "invalid_project"),
    (chat({"project_id": 0}), "invalid_project"),
    (chat({"project_id": 4.5}), "invalid_project"),
    (chat({"project": {}}), "invalid_project"),
    (chat({"project": {"id": 4}, "project_id": 5}), "invalid_project"),
]
