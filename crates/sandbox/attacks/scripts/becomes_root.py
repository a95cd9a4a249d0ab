# changes its user, groups and capabilities
# seccomp
for number in (105, 106, 113, 114, 117, 119, 122, 123):
    attempt("set user or group %d" % number, lambda: syscall(number, 0, 0, 0))
attempt("setgroups", lambda: syscall(116, 0, 0))
attempt("capset", lambda: syscall(126, bytes([0x22, 5, 8, 0x20, 0, 0, 0, 0]), b"\xff" * 24))
