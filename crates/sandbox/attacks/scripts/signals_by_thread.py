# signals threads of other processes
# seccomp
for pid in (1, os.getppid(), os.getpid()):
    attempt("tkill", lambda: syscall(200, pid, 9))
    attempt("tgkill", lambda: syscall(234, pid, pid, 9))
    attempt("rt_sigqueueinfo", lambda: syscall(129, pid, 9, bytes(128)))
