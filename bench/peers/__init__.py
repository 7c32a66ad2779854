"""The same purchase as others would serve it: one EVALSHA a request, no authentication."""
