"""Users of several features."""

from definitions import users_count

users_count("duoUsedCount", description="How many users used any feature.")
users_count(
    "codeContributorsCount",
    features=["code_suggestions", "code_review", "summarize_new_merge_request", "generate_merge_commit_message"],
    description="How many users used a feature for writing or reviewing code. People who used none are not known here.",
)
