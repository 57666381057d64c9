"""What the tests share: builders, servers, producers and readers."""
