"""An event: base attributes, location, and the rules for values that can be stored."""
