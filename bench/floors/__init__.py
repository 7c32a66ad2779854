"""What cannot be undercut: the same work without the service around it."""
