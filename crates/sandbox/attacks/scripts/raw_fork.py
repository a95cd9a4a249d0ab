# makes processes by bare system calls
# seccomp
for name, call in (("fork", (57,)), ("clone", (56, 17, 0, 0, 0, 0)), ("clone3", (435, bytes(88), 88))):
    attempt(name, lambda: syscall(*call))
attempt("os.fork", os.fork)
attempt("posix_spawn", lambda: os.posix_spawn(sys.executable, ["python3"], {}))
