"""The directory: what authoritative senders stated of namespaces, projects and users."""
