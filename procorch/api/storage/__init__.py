"""SQLite files that one process writes and others may read: journals, conversations."""
