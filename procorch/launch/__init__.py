"""Doing, part one: starting processes, signalling them, seeing them end."""
