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
# A shell command whose quotes reach over several lines is no mistake, though the highlighter takes each line by itself.
suppress_warnings = ["misc.highlighting_failure"]
