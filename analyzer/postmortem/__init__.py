"""Rules over a set of dumps that say where a job stood, instead of a stream that says how it went."""
