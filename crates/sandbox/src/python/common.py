# Shared by all processes of the jail: standard modules, frames, confinement. Trusted.
# `threading` and `random`, and modules that import them, are left out: the work that they do after each fork would cost
# all processes more than importing them costs the few that need them.
import sys, os, gc, errno, json, struct, signal, select, resource, ctypes, array, io, fcntl, _socket
import re, math, cmath, collections, fractions, decimal, string, itertools, difflib, functools, operator
import heapq, bisect, typing, dataclasses, datetime, copy, ast, textwrap, unicodedata, enum, contextlib
import traceback, numbers, base64, types, inspect, calendar, pprint, warnings, abc, collections.abc
import builtins, atexit, linecache, marshal, _strptime

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
LANDLOCK_RESTRICT_SELF = 446
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 4, 22, 2


class Closed(Exception):
    "The other end of the connection is closed."


class Wire:
    "Receives frames over a descriptor and sends them over it, or over another: a length of four bytes (little-endian), then JSON."

    def __init__(self, fd, longest=1 << 28, out=None):
        self.fd, self.longest, self.buffer = fd, longest, b""
        self.out = fd if out is None else out

    def _fill(self, n):
        buffer = self.buffer
        while len(buffer) < n:
            piece = os.read(self.fd, max(65536, n - len(buffer)))
            if not piece:
                raise Closed
            buffer = buffer + piece if buffer else piece
        self.buffer = buffer

    def receive(self):
        if len(self.buffer) < 4:
            self._fill(4)
        n = int.from_bytes(self.buffer[:4], "little")
        if n > self.longest:
            raise OverflowError(n)
        if len(self.buffer) < 4 + n:
            self._fill(4 + n)
        body, self.buffer = self.buffer[4:4 + n], self.buffer[4 + n:]
        return json.loads(body)

    def send(self, value):
        body = json.dumps(value).encode()
        data = len(body).to_bytes(4, "little") + body
        sent = os.write(self.out, data)
        while sent < len(data):
            data = data[sent:]
            sent = os.write(self.out, data)


def module(name):
    "The namespace of a new module, registered in `sys.modules`, where dataclasses and others look it up."
    sys.modules[name] = types.ModuleType(name)
    return sys.modules[name].__dict__


def site_builtins():
    """What `site` adds to the builtins when Python starts, such as `exit` and `help`. The interpreter of the fork server
    starts without `site`; untrusted code gets them, as in `python3 program.py`."""
    import site
    before = set(vars(builtins))
    site.setquit()
    site.setcopyright()
    site.sethelper()
    added = {name: value for name, value in vars(builtins).items() if name not in before}
    for name in added:
        delattr(builtins, name)
    return added


SITE_BUILTINS = site_builtins()

# What the sandbox refuses, by the part of the standard library in which the refusal surfaces.
REFUSED = {"/socket.py": "sockets", "/subprocess.py": "processes", "/multiprocessing/": "processes"}


def refusal(error):
    "The sentence that names what the sandbox refused to untrusted code, if that is why an exception was raised, or None."
    try:
        for _ in range(10):
            if type(error) is RuntimeError and str(error).startswith("can't start new thread"):
                return "threads are not allowed"
            if type(error) is PermissionError and error.errno == errno.EPERM:
                innermost = [f for f, _ in traceback.walk_tb(error.__traceback__)][-1:]
                for part, what in REFUSED.items():
                    if any(part in frame.f_code.co_filename for frame in innermost):
                        return what + " are not allowed"
            error = error.__cause__ or error.__context__
            if error is None:
                return None
    except BaseException:
        return None


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def seccomp_program(code):
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.addressof(buffer))
    program.keep = buffer
    return program


LIMITS = {w: resource.getrlimit(w)[1] for w in (
    resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_STACK
)}


def limit(what, value, more=0):
    hard = LIMITS[what]
    least = lambda n: n if hard == resource.RLIM_INFINITY else min(n, hard)
    resource.setrlimit(what, (least(value), least(value + more)))


def confine(order, setup):
    "Confines this process: the last step before untrusted code runs in it."
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, None, 0, 0)
    if os.getppid() != setup["zygote"]:
        os._exit(98)
    os.umask(0o077)
    limit(resource.RLIMIT_AS, order["memory"])
    # SIGXCPU first, which shows the reason, and a second later SIGKILL, which cannot be ignored.
    limit(resource.RLIMIT_CPU, order["cpu"], 1)
    limit(resource.RLIMIT_FSIZE, setup["scratch_bytes"] if order["scratch"] else 0)
    limit(resource.RLIMIT_NOFILE, 64)
    limit(resource.RLIMIT_STACK, 16 << 20)
    if not order["scratch"] and LIBC.syscall(LANDLOCK_RESTRICT_SELF, setup["reader"], 0) != 0:
        os._exit(96)
    os.close(setup["reader"])
    program = setup["filters"][order["role"]]
    if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0) != 0:
        os._exit(97)
    gc.enable()
