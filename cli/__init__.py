"""The offbeat command, one file a command group."""
