"""Outgoing webhooks: what is sent, where it may go, and the thread that sends it."""
