"""The formats of bodies and messages that contain events."""
