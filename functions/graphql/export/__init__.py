"""Writes events as files: which events a client asks for, with which columns, in which format."""
