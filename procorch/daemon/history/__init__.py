"""Events, exits and manual changes of a daemon, in an SQLite file."""
