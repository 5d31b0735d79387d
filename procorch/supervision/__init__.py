"""Deciding: pure rules of supervision. Time and chance come in as arguments; nothing here waits."""
