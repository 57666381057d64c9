"""Code suggestions in the IDE."""

from definitions import Feature, Payload


class CodeSuggestion(Payload):
    """What a code suggestion event carries."""

    unique_tracking_id: str | None = None
    suggestion_size: int | None = None  # lines of code
    language: str | None = None
    branch_name: str | None = None
    ide_name: str | None = None
    ide_vendor: str | None = None
    ide_version: str | None = None
    extension_name: str | None = None
    extension_version: str | None = None
    language_server_version: str | None = None
    model_name: str | None = None
    model_engine: str | None = None


feature = Feature("code_suggestions", owner="code-creation", payload=CodeSuggestion, field="codeSuggestionEvents")
feature.deprecated_events(code_suggestions_requested=1, code_suggestion_direct_access_token_refresh=5)


feature.events(
    code_suggestion_shown_in_ide=2,
    code_suggestion_accepted_in_ide=3,
    code_suggestion_rejected_in_ide=4,
)

feature.metric("shownCount", events=["code_suggestion_shown_in_ide"], description="Suggestions that were shown.")
feature.metric("acceptedCount", events=["code_suggestion_accepted_in_ide"], description="Suggestions that were taken.")
feature.metric(
    "shownLinesOfCode",
    sum="suggestion_size",
    events=["code_suggestion_shown_in_ide"],
    unit="lines",
    description="Lines of the suggestions that were shown.",
)
feature.metric(
    "acceptedLinesOfCode",
    sum="suggestion_size",
    events=["code_suggestion_accepted_in_ide"],
    unit="lines",
    description="Lines of the suggestions that were taken.",
)
feature.metric(
    "acceptanceRate",
    ratio=("acceptedCount", "shownCount"),
    description="The share of shown suggestions that were taken.",
)
feature.metric("languages", distinct="language", description="Languages that suggestions were made in.")
feature.metric("ideNames", distinct="ide_name", description="IDEs that suggestions were made in.")

feature.metrics_argument("languages", key="language", description="Only suggestions in these languages.")
feature.metrics_argument("ideNames", key="ide_name", description="Only suggestions in these IDEs.")
feature.metrics_beside(
    codeSuggestionsShownCount="shownCount",
    codeSuggestionsAcceptedCount="acceptedCount",
    codeSuggestionsContributorsCount="contributorsCount",
)
