# Runs a whole program on real standard streams, like `python3 program.py`.
def serve_script(order, fds, setup):
    wire = Wire(fds[0])
    source = wire.receive()["source"]
    for fd, target in zip(fds[1:], (0, 1, 2)):
        os.dup2(fd, target)
    os.closerange(3, 3 + len(fds))
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    sys.argv = ["program.py"]
    if order["scratch"]:
        os.chdir("/tmp")
    confine(order, setup)
    space = module("__main__")
    code = 0
    try:
        exec(compile(source, "program.py", "exec"), space)
    except SystemExit as leave:
        code = leave.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:
        code = 1
        try:
            print(brief(error), file=sys.stderr)
        except BaseException:
            pass
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        code = code or 120
    os._exit(code & 255 if isinstance(code, int) else 0)
