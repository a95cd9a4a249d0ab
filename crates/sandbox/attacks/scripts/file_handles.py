# opens files by handle, past all paths
# seccomp
attempt("name_to_handle_at", lambda: syscall(303, -100, b"/", bytes(128), bytes(8), 0))
attempt("open_by_handle_at", lambda: syscall(304, -100, bytes(128), 0))
