"""The public face: it checks what the user gives and posts events to the runtime."""
