"""The verbs of a daemon and its agents: each asks over the socket, and prints."""
