# The tester: runs trusted tests against functions that live in the candidate's process.
class Event(BaseException):
    """Ends a test, even if the test catches the exception: the candidate's process broke the protocol, ended, sent too much
    or ran out of memory, or the test needs a value that is not plain data."""


class Remote:
    "Stands for an object in the candidate's process. Its attributes can be read and set; no other operation is supported."

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

    # `isinstance` reads this.
    __class__ = property(_refuse)


class RemoteFunction(Remote):
    "Stands for a function or another object that can be called."

    __slots__ = ()

    def __call__(self, *arguments, **keywords):
        return self._link.call(self._target, arguments, keywords)


for operator_name in """
    eq ne lt le gt ge bool len iter contains getitem setitem delitem add radd iadd sub rsub isub mul rmul imul truediv rtruediv
    floordiv rfloordiv mod rmod divmod rdivmod pow rpow matmul rmatmul lshift rlshift rshift rrshift and rand or ror xor rxor neg
    pos abs invert int float complex index str repr bytes format hash next reversed enter exit round trunc floor ceil
""".split():
    setattr(Remote, "__%s__" % operator_name, Remote._refuse)


def known_class(module, name):
    """The exception class of this name, if it is builtin or from a module of the standard library that is imported already;
    None for all others, and for those that are no errors, except the two that a program raises to end itself."""
    if type(module) is not str or type(name) is not str:
        raise TypeError
    if module != "builtins" and module.partition(".")[0] not in getattr(sys, "stdlib_module_names", STANDARD):
        return None
    found = vars(sys.modules[module]).get(name) if module in sys.modules and module[:2] != "__" else None
    is_error = isinstance(found, type) and issubclass(found, (Exception, SystemExit, KeyboardInterrupt))
    return found if is_error and found.__module__ == module else None


# Python 3.9 has no list of the modules of its standard library.
STANDARD = frozenset(name.partition(".")[0] for name in sys.modules)


def stand_in(name, own, known, message, arguments):
    "An exception of a new class that has the bases of the program's class that are known here: the nearest of each line."
    nearest = [c for i, c in enumerate(known) if not any(issubclass(other, c) for other in known[:i])]
    for bases in ((*own, *nearest), (*own, nearest[0]), (nearest[0],)):
        with contextlib.suppress(Exception):
            body = {"__init__": lambda *_, **__: None, "__str__": lambda _: message}
            new = type(name, bases, body)
            return new.__new__(new, *arguments)
    return Exception(message)


class Link:
    "The connection to the candidate's process. Every message from it is checked."

    def __init__(self, fd, longest):
        self.wire, self.count = Wire(fd, longest), 0
        # The last exception that the candidate raised, and its text; distinguishes it from exceptions of the test.
        self.raised = None
        # Classes of tests that stand for exception classes of the program, by name.
        self.own = {}
        # Whether a StopIteration of the program may be raised as one.
        self.may_stop = False
        # What ended the test; kept because the test may catch the exception.
        self.event = None
        # The last call of the test that returned: its target, its arguments, and the value.
        self.returned = None

    def fail(self, kind, text=True):
        "Ends the test; the first event of a test is the one that counts."
        self.event = self.event or {kind: text}
        raise Event from None

    def reply(self):
        "Receives a frame, which must be a single JSON object."
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

    def ask(self, request):
        "Sends a request and returns the reply to it."
        self.count += 1
        request["id"] = self.count
        self.send(request)
        reply = self.reply()
        if reply.pop("id", None) != self.count:
            self.fail("forged", "its reply belongs to another request")
        return self.open(reply, "value")

    def open(self, reply, wanted):
        "Returns a reply that has the key `wanted`; otherwise raises the candidate's exception, or ends the test."
        if wanted in reply:
            return reply
        if "memory" in reply:
            self.fail("memory")
        if "unsupported" in reply:
            what = reply["unsupported"]
            self.fail(*(("unsupported", what[:300]) if type(what) is str else ("forged", "its reason is not a text")))
        self.raised = self.exception(reply.get("raised"))
        raise self.raised["error"]

    def exception(self, raised):
        "The candidate's exception: the `error` to raise here, its `text`, and what the sandbox `refused`, if it did."
        try:
            text, classes, refused = raised["text"][:300], raised["classes"], raised["refusal"]
            message, arguments = raised.get("message", text), raised.get("arguments")
            named = [known_class(module, name) for module, name in classes]
            own = [self.own[name] for module, name in classes if module == "__candidate__" and name in self.own]
            if type(text + message) is not str or (refused is not None and type(refused) is not str):
                raise ValueError
        except (AttributeError, KeyError, ValueError, TypeError):
            self.fail("forged", "its reply has no value")
        known = [c for c in named if c is not None] or [Exception]
        # `all(map(f, xs))` would take a StopIteration for the end of `xs`.
        if not self.may_stop:
            stops = (StopIteration, StopAsyncIteration)
            known = [RuntimeError if issubclass(c, stops) else c for c in known]
        if arguments is not None:
            try:
                arguments = [decode(a, None) for a in arguments]
            except Exception:
                arguments = None
        error = None
        if not own and named and named[0] is known[0]:
            with contextlib.suppress(Exception):
                error = known[0](*((message,) if arguments is None else arguments))
                error = error if type(error) is known[0] else None
        error = error or stand_in(classes[0][1] if classes else "Exception", own, known, message, arguments or [message])
        return {"error": error, "text": text, "refused": refused and refused[:100]}

    def remote(self, tag, v):
        "The stand-in for an object that stayed in the candidate's process."
        if tag != "object":
            raise ValueError(tag)
        number, kind, can_be_called = v
        if type(number) is not int or type(kind) is not str:
            raise ValueError(tag)
        return (RemoteFunction if can_be_called is True else Remote)(self, number, kind[:80])

    def value(self, x):
        "The value of the candidate's plain data."
        try:
            return decode(x, self.remote)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, ArithmeticError):
            self.fail("forged", "its value is not plain data")

    def plain(self, x):
        "An argument as plain data."
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
        "Calls a function of the candidate, and applies the changes that it made to arguments in place."
        positional = [self.plain(a) for a in arguments]
        named = {k: self.plain(v) for k, v in keywords.items()}
        reply = self.ask({"target": target, "arguments": positional, "keywords": named})
        changed = reply.get("changed", {})
        if type(changed) is not dict:
            self.fail("forged", "its changes are not an object")
        # Arguments by key: the index of a positional one, `=NAME` of a keyword.
        sent = {str(i): a for i, a in enumerate(arguments)}
        sent.update(("=" + name, a) for name, a in keywords.items())
        for key, after in changed.items():
            if key not in sent:
                self.fail("forged", "it changed an argument that does not exist")
            argument, after = sent[key], self.value(after)
            if type(argument) not in MUTABLE or type(after) is not type(argument):
                self.fail("forged", "it changed an argument of an immutable type")
            if isinstance(argument, (list, bytearray)):
                argument[:] = after
            elif isinstance(argument, collections.deque):
                argument.clear()
                argument.extend(after)
            else:
                argument.clear()
                argument.update(after)
        value = self.value(reply["value"])
        self.returned = target, arguments, keywords, value
        return value

    def attribute(self, target, name, new=()):
        "Reads an attribute, or sets it to the one value in `new`."
        request = {"target": target, "attribute": name, "new": [self.plain(v) for v in new]}
        return self.value(self.ask(request)["value"])


# Modules whose names tests may use without importing them.
LIBRARY = (math, collections, itertools, functools, operator, fractions, decimal, datetime, re, string)


def library(name):
    "The meaning of a name in the standard library, or None."
    if name.startswith("_"):
        return None
    if name in getattr(sys, "stdlib_module_names", sys.modules):
        return __import__(name)
    return next((getattr(m, name) for m in LIBRARY if hasattr(m, name)), None)


def names(code, only_called=False):
    "The names that code reads, or only those that it calls."
    nodes = [n for n in ast.walk(ast.parse(code)) if not only_called or isinstance(n, ast.Call)]
    nodes = [n.func for n in nodes] if only_called else nodes
    return {n.id for n in nodes if isinstance(n, ast.Name) and (only_called or isinstance(n.ctx, ast.Load))}


def meanings(setup, tests, link):
    """The meaning of each name that tests read and do not define: the candidate's, or the standard library's.

    The candidate must not decide what `isclose` or `Counter` is, but the function under test may be named `count`, or even
    `sum`. The function under test is the name that every test calls. If several are, a name that is not the library's comes
    first, then one of the library's, and a builtin only if the tests call nothing else. If no name is called by every test,
    a name of the library is ambiguous, which is an error."""
    called = [names(t, only_called=True) for t in tests]
    not_builtin = {n for n in set().union(*called) if not hasattr(builtins, n)}
    every = set.intersection(*called) if called else set()
    tested = {n for n in every & not_builtin if library(n) is None} or every & not_builtin
    tested = tested or (every if not not_builtin else set())
    found = {}
    classes = set().union(*(excepted(t) for t in (setup, *tests) if "except" in t)).difference(*called)
    for name in set().union(names(setup), *(names(t) for t in tests)):
        if hasattr(builtins, name) and name not in tested:
            continue
        known = None if name in tested else library(name)
        if known is not None and not tested and not inspect.ismodule(known):
            raise NameError("`%s` may be the program's or the library's: import it in the setup or list it" % name)
        if known is None and name in classes:
            known = link.own[name] = type(name, (Exception,), {})
        found[name] = RemoteFunction(link, name, name) if known is None else known
    return found


def excepted(code):
    "The names of the classes in the `except` clauses of code."
    clauses = [n.type for n in ast.walk(ast.parse(code)) if isinstance(n, ast.ExceptHandler) and n.type is not None]
    return {n.id for clause in clauses for n in ast.walk(clause) if isinstance(n, ast.Name)}


# Functions that take a StopIteration from the function that they call for the end of its values.
ENDED_BY_STOP = {"map", "filter", "iter", "itertools", "__next__", "__getitem__", *vars(itertools)} - {"__name__", "__doc__"}


def expects_stop(code):
    "Whether code has a clause `except StopIteration` and nothing that would take it for the end of an iterator."
    if "StopIteration" not in code or "StopIteration" not in excepted(code):
        return False
    tree = ast.parse(code)
    words = (getattr(n, key, None) for n in ast.walk(tree) for key in ("id", "attr", "name"))
    return ENDED_BY_STOP.isdisjoint(words)


# A test that evaluates text may evaluate the candidate's; after it, the tester must not serve another program.
EVALUATES = re.compile(r"\b(eval|exec|compile|__import__|importlib|pickle|marshal|ctypes|builtins|globals|setattr|modules)\b")
# Resident memory above which a tester is not used again, in KiB.
HEAVY = 200 << 10


# The brackets around the values of plain containers.
BRACKETS = {list: "[]", tuple: "()", dict: "{}", set: "{}", frozenset: "{}", collections.deque: "[]"}


def shown(x, room=160):
    """About the first `room` characters of a value as Python writes it. The value may be huge, or an object of the candidate,
    of which only the type is looked at."""
    kind = type(x)
    if x is None or kind in (bool, float, complex) or (kind is int and x.bit_length() < 400):
        return repr(x)
    if kind in (str, bytes):
        return repr(x) if len(x) <= room else repr(x[:room]) + "…"
    if kind not in BRACKETS:
        return "<%s>" % (x._kind if kind in (Remote, RemoteFunction) else kind.__name__)
    parts = []
    for item in x.items() if kind is dict else x:
        if room < 8:
            parts.append("…")
            break
        pair = item if kind is dict else (item,)
        parts.append(": ".join(shown(part, room // 2) for part in pair))
        room -= len(parts[-1]) + 2
    opening, closing = BRACKETS[kind]
    return opening + ", ".join(parts) + ("," if kind is tuple and len(parts) == 1 else "") + closing


def assertion(error, texts):
    "The assertion that an exception came from, as it is written in one of the texts by their file names; empty if in none."
    places = [(f.f_code.co_filename, line) for f, line in traceback.walk_tb(error.__traceback__)]
    for file, line in [place for place in places if place[0] in texts][-1:]:
        for node in ast.walk(ast.parse(texts[file])):
            if isinstance(node, ast.Assert) and node.lineno <= line <= node.end_lineno:
                return ast.get_source_segment(texts[file], node)
    return ""


def explained(error, texts, link):
    "What is known about a failed assertion without a message: the assertion, if it is not the whole test, and the last call."
    try:
        parts = []
        failed = assertion(error, texts)
        if failed and failed != texts["<test>"].strip():
            parts.append("`%s`" % " ".join(failed.split())[:160])
        if link.returned is not None:
            target, arguments, keywords, value = link.returned
            given = [shown(a, 40) for a in arguments[:8]] + ["%s=%s" % (k, shown(v, 40)) for k, v in keywords.items()][:8]
            function = target if type(target) is str else "…"
            parts.append("`%s(%s)` returned %s" % (function, ", ".join(given), shown(value)))
        return ": ".join(parts)[:600].encode("utf-8", "replace").decode()
    except BaseException:
        return ""


def judge(start, link, wire):
    "Runs the tests of one program and sends a verdict for each."

    def verdict(work, test=""):
        link.raised = link.event = link.returned = None
        try:
            work()
            verdict = {"passed": True}
        except BaseException as error:
            is_programs = link.raised is not None and link.raised["error"] is error
            refused = link.raised["refused"] if is_programs else refusal(error)
            if refused is not None:
                verdict = {"refused": refused}
            elif is_programs:
                verdict = {"raised": link.raised["text"]}
            else:
                texts = {"<setup>": start["setup"], "<test>": test}
                is_bare = type(error) is AssertionError and not error.args
                verdict = {"wrong": explained(error, texts, link) if is_bare else brief(error)}
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
    # An error in a set-up that has called the candidate is the candidate's.
    ready = verdict(lambda: exec(setup, space))
    if "passed" not in ready:
        alone = "wrong" in ready and link.count == 0
        wire.send({"setup": ready["wrong"]} if alone else {"load": ready, "last": evaluates})
        return
    for name in start["functions"]:
        space[name] = RemoteFunction(link, name, name)
    wire.send({"ready": True})
    for text, test in zip(start["tests"], tests):
        link.may_stop = "StopIteration" in start["setup"] + text and expects_stop(start["setup"] + "\n" + text)
        reply = verdict(lambda: exec(test, space), text)
        if evaluates or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > HEAVY:
            reply["last"] = True
        wire.send(reply)
        if link.event:
            return
    space.clear()


def serve_tester(order, fds, setup):
    "Serves many programs, one after the other. The descriptor of each candidate arrives before its tests."
    wire, socket = Wire(fds[0]), _socket.socket(fileno=fds[0])
    confine(order, setup)
    while True:
        byte, ancillary, _, _ = socket.recvmsg(1, _socket.CMSG_SPACE(4))
        if not byte:
            return
        link = array.array("i", ancillary[0][2])[0]
        start = wire.receive()
        judge(start, Link(link, start["longest"]), wire)
        os.close(link)
