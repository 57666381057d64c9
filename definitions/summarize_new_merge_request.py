"""Summaries of new merge requests."""

from definitions import Feature

feature = Feature("summarize_new_merge_request", owner="code-review")
feature.events(summarize_new_merge_request=33)
