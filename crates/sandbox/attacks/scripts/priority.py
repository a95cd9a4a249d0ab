# takes the processors for itself
# seccomp
attempt("setpriority", lambda: syscall(141, 0, 0, -20))
attempt("sched_setscheduler", lambda: syscall(144, 0, 1, bytes([99, 0, 0, 0])))
attempt("sched_setaffinity", lambda: syscall(203, 0, 8, b"\xff" * 8))
