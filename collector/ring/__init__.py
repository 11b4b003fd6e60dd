"""The one file format that recorders write and the agent reads."""
