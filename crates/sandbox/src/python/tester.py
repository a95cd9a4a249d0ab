# Runs trusted tests against functions that live in another process.
class Event(BaseException):
    """Something that ends a test whatever the test makes of it: the candidate's process broke the protocol, is gone,
    answers too much, ran out of memory, or a value that is not plain data was needed."""


class Remote:
    "Something that stayed in the candidate's process: it can be called, and its attributes read. Nothing else."

    __slots__ = ("_link", "_target", "_kind")

    def __init__(self, link, target, kind):
        self._link, self._target, self._kind = link, target, kind

    def __call__(self, *arguments, **keywords):
        return self._link.call(self._target, arguments, keywords)

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

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __len__ = __iter__ = __contains__ = _refuse
    __getitem__ = __setitem__ = __delitem__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __neg__ = __abs__ = __int__ = __float__ = __index__ = __str__ = __repr__ = _refuse
    __format__ = __hash__ = __next__ = __enter__ = __exit__ = __round__ = __mod__ = __pow__ = __and__ = __or__ = _refuse


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
        return self.open(reply)

    def open(self, reply):
        if "value" in reply or "ready" in reply:
            return reply
        if "memory" in reply:
            self.fail("memory")
        if "unsupported" in reply:
            self.fail("unsupported", str(reply["unsupported"])[:300])
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
        number, kind, _ = v
        if type(number) is not int or type(kind) is not str:
            raise ValueError(tag)
        return Remote(self, number, kind[:80])

    def value(self, x):
        try:
            return decode(x, self.remote)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, ArithmeticError):
            self.fail("forged", "its value is not plain data")

    def plain(self, x):
        def keep(x):
            if type(x) is Remote:
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
        for i, after in changed.items():
            try:
                argument = arguments[int(i)]
            except (ValueError, IndexError):
                self.fail("forged", "it changed an argument that is not there")
            after = self.value(after)
            if type(after) is not type(argument):
                self.fail("forged", "it changed the type of an argument")
            if isinstance(argument, (list, bytearray)):
                argument[:] = after
            elif isinstance(argument, (dict, set)):
                argument.clear()
                argument.update(after)
            else:
                argument.clear()
                argument.extend(after)
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
        found[name] = Remote(link, name, name) if known is None else known
    return found


def judge(start, link, wire):
    "Runs the tests of one program and sends a verdict for each."
    link.send({"source": start["source"]})

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
    loaded = verdict(lambda: link.open(link.reply()))
    if "passed" not in loaded:
        wire.send({"load": loaded})
        return
    try:
        if not start["functions"]:
            space.update(meanings(start["setup"], start["tests"], link))
        exec(compile(start["setup"], "<setup>", "exec"), space)
        tests = [compile(t, "<test>", "exec") for t in start["tests"]]
    except BaseException as error:
        wire.send({"load": link.event} if link.event else {"setup": brief(error)})
        return
    for name in start["functions"]:
        space[name] = Remote(link, name, name)
    wire.send({"ready": True})
    for test in tests:
        wire.send(verdict(lambda: exec(test, space)))
        if link.event:
            return


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
