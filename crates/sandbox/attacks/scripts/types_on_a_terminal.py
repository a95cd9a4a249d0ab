# types on the terminal of whoever started it
# seccomp
import fcntl
for fd in range(8):
    attempt("TIOCSTI", lambda: fcntl.ioctl(fd, 0x5412, b"x"))
    attempt("TIOCLINUX", lambda: fcntl.ioctl(fd, 0x541C, b"\3"))
