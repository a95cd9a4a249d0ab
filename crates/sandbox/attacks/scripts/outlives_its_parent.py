# asks the kernel not to be killed with its parent
# seccomp
attempt("prctl", lambda: syscall(157, 1, 0, 0, 0, 0))
