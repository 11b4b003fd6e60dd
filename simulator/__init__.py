"""A fleet to play with: training jobs made of numbers, their faults, and the captures an agent would have made."""
