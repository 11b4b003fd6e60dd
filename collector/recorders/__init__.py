"""Recorders that run inside a training process."""
