"""What travels between the parent and a worker: frames, encoded objects, channels, status pages."""
