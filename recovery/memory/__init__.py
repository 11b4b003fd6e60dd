"""Snapshots in memory: laid out in the trainer, kept by a process of their own, coded across hosts, restored."""
