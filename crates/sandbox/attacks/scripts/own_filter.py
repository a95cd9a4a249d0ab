# loads a system call filter of its own
# seccomp
attempt("seccomp", lambda: syscall(317, 1, 0, 0))
attempt("prctl", lambda: syscall(157, 22, 2, 0, 0, 0))
