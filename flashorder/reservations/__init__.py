"""The hot path: admission, batching, the scripts that take and give back units. Redis only."""
