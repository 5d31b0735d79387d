"""The daemon: keeps the agents of a configuration file alive, and answers commands on a socket."""
