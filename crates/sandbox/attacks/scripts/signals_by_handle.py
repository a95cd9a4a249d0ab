# signals its parent by process handle
# seccomp
attempt("pidfd_open", lambda: syscall(434, os.getppid(), 0))
for fd in range(10):
    attempt("pidfd_send_signal", lambda: syscall(424, fd, 9, 0, 0))
