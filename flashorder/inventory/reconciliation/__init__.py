"""Both stores held against each other, with what is in flight between them taken into account."""
