"""Conversations with names: where they are kept, and the order of their requests."""
