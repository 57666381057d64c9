"""Calls of tools by the Model Context Protocol."""

from definitions import Feature, Payload, source


class Mcp(Payload):
    """A call of a tool."""

    mcp_session_id: str | None = source("session_id")
    tool_name: str | None = None
    has_tool_call_success: bool | None = None
    failure_reason: str | None = None
    error_status: str | None = None


feature = Feature("mcp", owner="mcp", payload=Mcp)
feature.events(start_mcp_tool_call=23, finish_mcp_tool_call=24)

feature.metrics_argument("toolNames", key="tool_name", description="Only calls of these tools.")
