"""Collectives, phases and faults of a stretch of time as a trace for people to look at."""
