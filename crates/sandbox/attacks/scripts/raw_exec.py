# starts a program by bare system calls
# seccomp
attempt("execve", lambda: syscall(59, b"/bin/true", 0, 0))
attempt("execveat", lambda: syscall(322, -100, b"/bin/true", 0, 0, 0))
attempt("execve of the interpreter", lambda: os.execv(sys.executable, ["python3"]))
