"""Reads metrics that a function emits in CloudWatch's embedded metric format."""

import json


def metrics(output: str) -> dict[str, float]:
    """Returns the newest value of each metric in a function's output."""
    lines = [json.loads(line) for line in output.splitlines() if "CloudWatchMetrics" in line]
    named = [(line, metric["Name"]) for line in lines for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    return {name: line[name][-1] for line, name in named}
