"""Erases and exports everything that is stored of a user or a namespace."""
