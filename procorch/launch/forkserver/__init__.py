"""The zygote: the process that workers are forked from (server), and its client in the parent."""
