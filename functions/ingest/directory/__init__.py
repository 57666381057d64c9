"""The directory: facts that authoritative senders stated about namespaces, projects and users."""
