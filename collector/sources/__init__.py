"""Sources of the agent, one file each."""
