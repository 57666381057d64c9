"""The generated parts of the documentation: tables of `docs/` that are made from the code."""
