"""Telemetry in, findings out."""
