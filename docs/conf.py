"""How Sphinx builds the site from the Markdown of this folder: offline, and strict about links."""

project = "AI usage events"
author = "The AI usage events contributors"
extensions = ["myst_parser"]
exclude_patterns: list[str] = []
myst_heading_anchors = 4
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False
# The highlighter reads each line by itself, so it warns of valid shell commands with quotes over several lines.
suppress_warnings = ["misc.highlighting_failure"]
