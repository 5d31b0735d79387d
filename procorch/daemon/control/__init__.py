"""The control socket of a daemon: the protocol, the verbs, and the server."""
