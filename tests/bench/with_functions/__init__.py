"""The shipped definitions, each with a function that computes its payloads."""
