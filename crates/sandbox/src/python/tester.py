# Runs trusted tests against functions that live in another process.
class Event(BaseException):
    """Something that ends a test whatever the test makes of it: the candidate's process broke the protocol, is gone,
    answers too much, ran out of memory, or a value that is not plain data was needed."""


class Remote:
    "Something that stayed in the candidate's process: its attributes can be read and set. Nothing else."

    __slots__ = ("_link", "_target", "_kind")

    def __init__(self, link, target, kind):
        self._link, self._target, self._kind = link, target, kind

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._link.attribute(self._target, name)

    def __setattr__(self, name, value):
        if name in Remote.__slots__:
            object.__setattr__(self, name, value)
        else:
            self._link.attribute(self._target, name, [value])

    def _refuse(self, *_):
        self._link.fail("unsupported", "an object of class `%s`" % self._kind)

    # What `isinstance` asks for.
    __class__ = property(_refuse)


class RemoteFunction(Remote):
    "A stand-in that can be called."

    __slots__ = ()

    def __call__(self, *arguments, **keywords):
        return self._link.call(self._target, arguments, keywords)


for operator_name in """
    eq ne lt le gt ge bool len iter contains getitem setitem delitem add radd iadd sub rsub isub mul rmul imul truediv rtruediv
    floordiv rfloordiv mod rmod divmod rdivmod pow rpow matmul rmatmul lshift rlshift rshift rrshift and rand or ror xor rxor neg
    pos abs invert int float complex index str repr bytes format hash next reversed enter exit round trunc floor ceil
""".split():
    setattr(Remote, "__%s__" % operator_name, Remote._refuse)


class Link:
    "The wire to the candidate's process. All that comes over it is checked."

    def __init__(self, fd, longest):
        self.wire, self.count = Wire(fd, longest), 0
        # The last exception that the candidate raised, and its text: how a test tells it from its own.
        self.raised = None
        # What ended the test, kept because a test may swallow the exception.
        self.event = None

    def fail(self, kind, text=True):
        self.event = self.event or {kind: text}
        raise Event from None

    def reply(self):
        try:
            reply = self.wire.receive()
        except (Closed, ConnectionError):
            self.fail("lost")
        except OverflowError:
            self.fail("long")
        except (ValueError, RecursionError, MemoryError):
            self.fail("forged", "its reply is not JSON")
        if type(reply) is not dict:
            self.fail("forged", "its reply is not an object")
        if self.wire.buffer:
            self.fail("forged", "it wrote more than its reply")
        return reply

    def send(self, message):
        try:
            self.wire.send(message)
        except OSError:
            self.fail("lost")

    def ask(self, question):
        self.count += 1
        question["id"] = self.count
        self.send(question)
        reply = self.reply()
        if reply.pop("id", None) != self.count:
            self.fail("forged", "its reply answers another question")
        return self.open(reply, "value")

    def open(self, reply, wanted):
        if wanted in reply:
            return reply
        if "memory" in reply:
            self.fail("memory")
        if "unsupported" in reply:
            what = reply["unsupported"]
            self.fail(*(("unsupported", what[:300]) if type(what) is str else ("forged", "its reason is not a text")))
        try:
            name, text = reply["raised"]
            if type(name) is not str or type(text) is not str:
                raise ValueError
        except (KeyError, ValueError, TypeError):
            self.fail("forged", "its reply has no value")
        known = getattr(builtins, name, None)
        if not (isinstance(known, type) and issubclass(known, Exception)):
            known = Exception
        # `all(map(f, xs))` would take it for the end of `xs`.
        if issubclass(known, (StopIteration, StopAsyncIteration)):
            known = RuntimeError
        try:
            error = known(text)
        except Exception:
            error = Exception(text)
        self.raised = (error, text[:300])
        raise error

    def remote(self, tag, v):
        if tag != "object":
            raise ValueError(tag)
        number, kind, can_be_called = v
        if type(number) is not int or type(kind) is not str:
            raise ValueError(tag)
        return (RemoteFunction if can_be_called is True else Remote)(self, number, kind[:80])

    def value(self, x):
        try:
            return decode(x, self.remote)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, ArithmeticError):
            self.fail("forged", "its value is not plain data")

    def plain(self, x):
        def keep(x):
            if type(x) in (Remote, RemoteFunction):
                return {"object": x._target}
            if isinstance(x, collections.abc.Iterator):
                return iterator(x, keep)
            raise Unsupported("an argument of type `%s`" % type(x).__name__)

        try:
            return encode(x, keep)
        except Unsupported as error:
            self.fail("unsupported", str(error))

    def call(self, target, arguments, keywords):
        sent = [self.plain(a) for a in arguments]
        named = {k: self.plain(v) for k, v in keywords.items()}
        reply = self.ask({"target": target, "arguments": sent, "keywords": named})
        changed = reply.get("changed", {})
        if type(changed) is not dict:
            self.fail("forged", "its changes are not an object")
        given = {str(i): a for i, a in enumerate(arguments)}
        given.update(("=" + name, a) for name, a in keywords.items())
        for place, after in changed.items():
            if place not in given:
                self.fail("forged", "it changed an argument that is not there")
            argument, after = given[place], self.value(after)
            if type(argument) not in MUTABLE or type(after) is not type(argument):
                self.fail("forged", "it changed what cannot change")
            if isinstance(argument, (list, bytearray)):
                argument[:] = after
            elif isinstance(argument, collections.deque):
                argument.clear()
                argument.extend(after)
            else:
                argument.clear()
                argument.update(after)
        return self.value(reply["value"])

    def attribute(self, target, name, new=()):
        "Reads an attribute, or sets it to the one value in `new`."
        question = {"target": target, "attribute": name, "new": [self.plain(v) for v in new]}
        return self.value(self.ask(question)["value"])


# What tests may use without importing it.
LIBRARY = (math, collections, itertools, functools, operator, fractions, decimal, datetime, re, string)


def library(name):
    "What a name means in the standard library, or nothing."
    if name.startswith("_"):
        return None
    if name in getattr(sys, "stdlib_module_names", sys.modules):
        return __import__(name)
    return next((getattr(m, name) for m in LIBRARY if hasattr(m, name)), None)


def names(code, only_called=False):
    "Names that a piece of code reads, or only those that it calls."
    nodes = [n for n in ast.walk(ast.parse(code)) if not only_called or isinstance(n, ast.Call)]
    nodes = [n.func for n in nodes] if only_called else nodes
    return {n.id for n in nodes if isinstance(n, ast.Name) and (only_called or isinstance(n.ctx, ast.Load))}


def meanings(setup, tests, link):
    """What the names mean that tests read and do not define: the candidate's, or the standard library's. The candidate
    must not decide what `isclose` or `Counter` is, but the function under test may be called `count`, or even `sum`. That
    one is what every test calls; where it could be several, first one that is nobody else's, then one of the library's,
    and a builtin only if nothing else is called at all. Where no name is called by every test, one of the library's
    must be told."""
    called = [names(t, only_called=True) for t in tests]
    own = {n for n in set().union(*called) if not hasattr(builtins, n)}
    every = set.intersection(*called) if called else set()
    tested = {n for n in every & own if library(n) is None} or every & own or (every if not own else set())
    found = {}
    for name in set().union(names(setup), *(names(t) for t in tests)):
        if hasattr(builtins, name) and name not in tested:
            continue
        known = None if name in tested else library(name)
        if known is not None and not tested and not inspect.ismodule(known):
            raise NameError("`%s` may be the program's or the library's: import it in the setup or list it" % name)
        found[name] = RemoteFunction(link, name, name) if known is None else known
    return found


# A test that runs texts may run the candidate's: what it leaves behind must not meet another program.
EVALUATES = re.compile(r"\b(eval|exec|compile|__import__|importlib|pickle|marshal|ctypes|builtins|globals|setattr|modules)\b")
# Resident memory from which on a tester is not used again, in KiB.
HEAVY = 200 << 10


def judge(start, link, wire):
    "Runs the tests of one program and sends a verdict for each."

    def verdict(work):
        link.raised = link.event = None
        try:
            work()
            verdict = {"passed": True}
        except BaseException as error:
            if link.raised is not None and link.raised[0] is error:
                verdict = {"raised": link.raised[1]}
            else:
                verdict = {"wrong": "" if type(error) is AssertionError and not error.args else brief(error)}
        return link.event or verdict

    space = module("__tests__")
    evaluates = any(EVALUATES.search(text) for text in (start["setup"], *start["tests"]))
    def load():
        link.send({"source": start["source"]})
        link.open(link.reply(), "ready")

    loaded = verdict(load)
    if "passed" not in loaded:
        wire.send({"load": loaded})
        return
    try:
        if not start["functions"]:
            space.update(meanings(start["setup"], start["tests"], link))
        setup = compile(start["setup"], "<setup>", "exec")
        tests = [compile(t, "<test>", "exec") for t in start["tests"]]
    except BaseException as error:
        wire.send({"setup": brief(error)})
        return
    # What goes wrong in a set-up that uses the candidate is the candidate's.
    ready = verdict(lambda: exec(setup, space))
    if "passed" not in ready:
        alone = "wrong" in ready and link.count == 0
        wire.send({"setup": ready["wrong"]} if alone else {"load": ready, "last": evaluates})
        return
    for name in start["functions"]:
        space[name] = RemoteFunction(link, name, name)
    wire.send({"ready": True})
    for test in tests:
        reply = verdict(lambda: exec(test, space))
        if evaluates or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > HEAVY:
            reply["last"] = True
        wire.send(reply)
        if link.event:
            return
    space.clear()


def serve_tester(order, fds, setup):
    "Serves many programs, one after the other: a descriptor to each candidate comes before its tests."
    wire, socket = Wire(fds[0]), _socket.socket(fileno=fds[0])
    confine(order, setup)
    while True:
        told, ancillary, _, _ = socket.recvmsg(1, _socket.CMSG_SPACE(4))
        if not told:
            return
        link = array.array("i", ancillary[0][2])[0]
        start = wire.receive()
        judge(start, Link(link, start["longest"]), wire)
        os.close(link)
