# Runs a whole program on real standard streams, like `python3 program.py < input`.
PROGRAM = "/tmp/program.py"
STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2, "/dev/fd/0": 0, "/dev/fd/1": 1, "/dev/fd/2": 2}


class Source:
    "The loader of the program: gives `inspect` and `traceback` its text, which is in no file."

    def __init__(self, text):
        self.text = text

    def get_source(self, name):
        return self.text


def provide_files(source):
    """Lets the program open what no file system has here: its standard streams by name, as duplicates of its descriptors, and
    its own file, for reading."""
    open_file, open_descriptor = open, os.open

    def stream(path):
        "The descriptor that a path names, or None."
        try:
            return STREAMS.get(os.fspath(path))
        except TypeError:
            return None

    @functools.wraps(open_file)
    def open_either(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        if opener is None and not isinstance(file, int) and stream(file) is not None:
            opener = lambda path, flags: os.dup(stream(path))
        try:
            return open_file(file, mode, buffering, encoding, errors, newline, closefd, opener)
        except FileNotFoundError:
            if opener is not None or str(file) not in (PROGRAM, sys.argv[0]) or mode not in ("r", "rt", "rb"):
                raise
            data = io.BytesIO(source.encode())
            return data if mode == "rb" else io.TextIOWrapper(data, encoding or "utf-8", errors, newline)

    @functools.wraps(open_descriptor)
    def open_number(path, *arguments, **keywords):
        number = stream(path)
        return open_descriptor(path, *arguments, **keywords) if number is None else os.dup(number)

    builtins.open = io.open = open_either
    os.open = open_number


def end_program(space):
    "Ends a program as the interpreter does: exit functions, then all that is still unwritten. Returns whether that worked."
    try:
        atexit._run_exitfuncs()
        left = [v for v in space.values() if issubclass(type(v), io.IOBase)]
        for file in (sys.stdout, sys.__stdout__, *left):
            if file is not None and not getattr(file, "closed", False):
                file.flush()
    except BaseException:
        return False
    return True


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
    vars(builtins).update(SITE_BUILTINS)
    provide_files(source)
    confine(order, setup)
    space = module("__main__")
    main = {"__builtins__": builtins, "__file__": PROGRAM, "__cached__": None, "__annotations__": {}}
    space.update(main, __loader__=Source(source))
    code, refused = 0, None
    try:
        exec(compile(source, PROGRAM, "exec"), space)
    except SystemExit as leave:
        code = leave.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:
        code = 1
        try:
            print(brief(error), file=sys.stderr)
            refused = refusal(error)
        except BaseException:
            pass
    if not end_program(space):
        code = code or 120
    # The last line, behind the warnings of objects that the exception kept alive.
    if refused is not None:
        os.write(2, b"NotAllowed: %s\n" % refused.encode())
    os._exit(code & 255 if isinstance(code, int) else 0)
