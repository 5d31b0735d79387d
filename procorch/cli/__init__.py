"""The command line: each verb parses, calls and prints; the work is done elsewhere."""
