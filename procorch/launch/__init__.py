"""Starts worker processes, signals them, and reports how they end."""
