# raises its own limits and its parent's
# seccomp, resource limits
import resource
for what in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
    attempt("setrlimit", lambda: resource.setrlimit(what, (-1, -1)))
attempt("prlimit of the parent", lambda: syscall(302, os.getppid(), 0, bytes(16), 0))
