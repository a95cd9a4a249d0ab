# makes pipes, sockets and devices
# seccomp
attempt("mkfifo", lambda: os.mkfifo("p"))
attempt("socketpair", lambda: __import__("socket").socketpair())
attempt("mknod", lambda: os.mknod("n", 0o20666, os.makedev(1, 3)))
