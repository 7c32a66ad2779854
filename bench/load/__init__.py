"""Load: wrk where it must be fast, a client of our own where it must keep a schedule."""
