# The fork server. It is trusted, has one thread, and never reads what untrusted code wrote.
ROLES = {"verifier": serve_verifier, "script": serve_script, "candidate": serve_candidate, "tester": serve_tester}


CONTROL, RULESET = 3, 4


def child(order, fds, setup):
    # Only the descriptors of this process stay open: its own as 3, 4, …, and the Landlock ruleset last.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in fds + [RULESET]]
    kept = [os.dup2(fd, 3 + i) for i, fd in enumerate(high)]
    os.closerange(3 + len(kept), 4096)
    setup["reader"] = kept.pop()
    ROLES[order["role"]](order, kept, setup)


def reap(pidfd, children):
    pid, report, scratch = children.pop(pidfd)
    _, status, used = os.wait4(pid, 0)
    os.close(pidfd)
    cpu = int((used.ru_utime + used.ru_stime) * 1e6)
    dirty = scratch and bool(os.listdir("/tmp"))
    with contextlib.suppress(OSError):
        report.send(struct.pack("<iQQB", status, cpu, used.ru_maxrss << 10, dirty))
    report.close()


def launch(order, fds, setup):
    "Forks. Returns the pidfd and the PID of the new process and the socket on which to report its end."
    try:
        pid = os.fork()
    except OSError:
        pid = None
    if pid == 0:
        try:
            child(order, fds[1:], setup)
        except BaseException:
            pass
        finally:
            os._exit(99)
    for other in fds[1:]:
        os.close(other)
    report = _socket.socket(fileno=fds[0])
    if pid is None:
        report.close()
        return None
    pidfd = os.pidfd_open(pid)
    with contextlib.suppress(OSError):
        report.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [pidfd]))])
    return pidfd, pid, report


def main():
    # Not dumpable: no other process can trace these ones, and a crash leaves no core dump.
    LIBC.prctl(PR_SET_DUMPABLE, 0, None, 0, 0)
    # It was for the interpreter's start: symbols of shared libraries are resolved here, not again in each process.
    del os.environ["LD_BIND_NOW"]
    control = _socket.socket(fileno=CONTROL)
    setup = json.loads(control.recv(1 << 18))
    setup["zygote"] = os.getpid()
    setup["filters"] = {role: seccomp_program(bytes.fromhex(code)) for role, code in setup["filters"].items()}
    sys.path[:] = [p for p in sys.path if p] + setup["packages"]
    poll, children = select.poll(), {}
    poll.register(CONTROL, select.POLLIN)
    rehearse()
    gc.collect()
    gc.freeze()
    gc.disable()
    control.send(b"ready")
    while True:
        for fd, _ in poll.poll():
            if fd != CONTROL:
                poll.unregister(fd)
                reap(fd, children)
                continue
            data, ancillary, _, _ = control.recvmsg(4096, _socket.CMSG_SPACE(8 * 4))
            if not data:
                os._exit(0)
            fds = array.array("i", b"".join(a[2] for a in ancillary)).tolist()
            order = json.loads(data)
            launched = launch(order, fds, setup)
            if launched:
                pidfd, pid, report = launched
                children[pidfd] = (pid, report, order["scratch"])
                poll.register(pidfd, select.POLLIN)


main()
