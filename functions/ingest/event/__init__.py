"""An event: its attributes, where it belongs, what of it can be stored."""
