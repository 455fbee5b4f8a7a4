"""Edits of a kernel file by syntax, and which of them to try next: the agent that needs no model."""
