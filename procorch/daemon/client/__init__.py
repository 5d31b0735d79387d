"""Programs that talk to a daemon: it is found, asked, and its answers become values and errors."""
