"""The formats in which bodies and messages hold events."""
