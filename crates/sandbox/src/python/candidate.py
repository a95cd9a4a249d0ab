# The candidate: holds untrusted functions and answers calls with plain data. It never sees the tests.
def holds_iterator(x):
    "Whether plain data contains an iterator, which encoding it would exhaust."
    if type(x) is dict:
        return "iterator" in x or any(map(holds_iterator, x.values()))
    return type(x) is list and any(map(holds_iterator, x))


def describe(error):
    "An exception as plain data: its classes from the nearest on, its text, its arguments if they are plain and short."
    try:
        classes = [[c.__module__, c.__name__] for c in type(error).__mro__[:30]]
        classes = [c for c in classes if type(c[0]) is str and type(c[1]) is str and len(c[0] + c[1]) < 160]
    except BaseException:
        classes = []
    described = {"text": brief(error), "classes": classes, "refusal": refusal(error)}
    try:
        described["message"] = str(error)[:4000].encode("utf-8", "surrogatepass").decode("utf-8", "replace")

        def keep(x):
            raise Unsupported(type(x).__name__)

        arguments = [encode(a, keep) for a in error.args]
        if len(json.dumps(arguments)) <= 4000:
            described["arguments"] = arguments
    except BaseException:
        pass
    return described


def serve_candidate(order, fds, setup):
    wire = Wire(fds[0])
    start = wire.receive()
    vars(builtins).update(SITE_BUILTINS)
    confine(order, setup)
    answer_calls(wire, start)


def answer_calls(wire, start):
    kept, numbers_of, names = {}, {}, module("__candidate__")

    def keep(x):
        if isinstance(x, collections.abc.Iterator):
            return iterator(x, keep)
        # The same object keeps its number.
        number = numbers_of.setdefault(id(x), len(kept))
        kept[number] = x
        return {"object": [number, type(x).__name__[:80], callable(x)]}

    def remote(tag, v):
        if tag != "object":
            raise ValueError(tag)
        return names[v] if isinstance(v, str) else kept[v]

    def answer(request):
        target = request["target"]
        if isinstance(target, str) and target not in names:
            raise NameError("name `%s` is not defined" % target)
        function = names[target] if isinstance(target, str) else kept[target]
        if "attribute" in request:
            for value in request["new"]:
                return {"value": setattr(function, request["attribute"], decode(value, remote))}
            return {"value": encode(getattr(function, request["attribute"]), keep)}
        # Arguments by key: the index of a positional one, `=NAME` of a keyword.
        encoded = {str(i): a for i, a in enumerate(request["arguments"])}
        encoded.update(("=" + name, a) for name, a in request["keywords"].items())
        decoded = {key: decode(a, remote) for key, a in encoded.items()}
        # The function may change containers in place; comparing them before and after the call shows whether it did.
        watched = {k: a for k, a in decoded.items() if type(encoded[k]) in (list, dict) and not holds_iterator(encoded[k])}
        before = {k: encode(a, keep) for k, a in watched.items()}
        arguments = [decoded[str(i)] for i in range(len(request["arguments"]))]
        value = function(*arguments, **{name: decoded["=" + name] for name in request["keywords"]})
        reply = {"value": encode(value, keep)}
        changed = {}
        for key, argument in watched.items():
            after = encode(argument, keep)
            if after != before[key]:
                if type(argument) not in MUTABLE:
                    raise Unsupported("a change inside an argument of type `%s`" % type(argument).__name__)
                changed[key] = after
        if changed:
            reply["changed"] = changed
        return reply

    def attempt(work):
        try:
            return work()
        except Unsupported as error:
            return {"unsupported": str(error)}
        except MemoryError:
            return {"memory": True}
        except BaseException as error:
            return {"raised": describe(error)}

    def load():
        exec(compile(start["source"], "<program>", "exec"), names)
        return {"ready": True}

    reply = attempt(load)
    wire.send(reply)
    if "ready" in reply:
        while True:
            request = wire.receive()
            reply = attempt(lambda: answer(request))
            reply["id"] = request["id"]
            try:
                wire.send(reply)
            except (TypeError, ValueError, RecursionError, MemoryError) as error:
                wire.send({"raised": describe(error), "id": request["id"]})
