"""Reads and checks the configuration of a daemon, compares two of them, and reads its secrets."""
