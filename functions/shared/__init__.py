"""Code that several functions use."""
