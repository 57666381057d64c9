"""Sends the stack a canary event every five minutes, and measures when it can be read."""
