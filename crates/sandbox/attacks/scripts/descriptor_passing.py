# passes descriptors over every descriptor it has
# seccomp
import array
for fd in range(8):
    attempt("sendmsg", lambda: syscall(46, fd, bytes(56), 0))
    attempt("recvmsg", lambda: syscall(47, fd, bytes(56), 0))
