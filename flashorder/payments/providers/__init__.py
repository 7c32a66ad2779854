"""Payment providers: the port, and one file an adapter."""
