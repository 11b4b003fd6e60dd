"""The node side: recorders inside the trainer, the ring they write, the agent that reads it."""
