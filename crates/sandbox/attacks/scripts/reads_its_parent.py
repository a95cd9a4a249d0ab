# reads the memory of the fork server
# seccomp, private root, Landlock
attempt("process_vm_readv", lambda: syscall(310, os.getppid(), bytes(16), 1, bytes(16), 1, 0))
attempt("mem", lambda: open("/proc/%d/mem" % os.getppid(), "rb"))
attempt("maps", lambda: open("/proc/%d/maps" % os.getppid()).read())
