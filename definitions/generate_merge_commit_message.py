"""Messages of merge commits."""

from definitions import Feature

feature = Feature("generate_merge_commit_message", owner="code-review")
feature.events(generate_merge_commit_message=37)
