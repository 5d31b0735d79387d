"""What callers hold of a request: its reply, its stream, its chunk, and streams of events."""
