"""What every room agrees on: money, identifiers, errors, state machines. No I/O, no framework."""
