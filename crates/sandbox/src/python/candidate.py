# Holds untrusted functions and answers calls with plain data. It never sees the tests.
def holds_iterator(x):
    "Whether plain data holds what looking at would use up."
    if type(x) is dict:
        return "iterator" in x or any(map(holds_iterator, x.values()))
    return type(x) is list and any(map(holds_iterator, x))


def serve_candidate(order, fds, setup):
    wire = Wire(fds[0])
    start = wire.receive()
    confine(order, setup)
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

    def answer(question):
        target = question["target"]
        if isinstance(target, str) and target not in names:
            raise NameError("name `%s` is not defined" % target)
        function = names[target] if isinstance(target, str) else kept[target]
        if "attribute" in question:
            for value in question["new"]:
                return {"value": setattr(function, question["attribute"], decode(value, remote))}
            return {"value": encode(getattr(function, question["attribute"]), keep)}
        sent = {str(i): a for i, a in enumerate(question["arguments"])}
        sent.update(("=" + name, a) for name, a in question["keywords"].items())
        given = {place: decode(a, remote) for place, a in sent.items()}
        # Containers may be changed in place; what that comes to is found by looking before and after.
        watched = {p: a for p, a in given.items() if type(sent[p]) in (list, dict) and not holds_iterator(sent[p])}
        before = {p: encode(a, keep) for p, a in watched.items()}
        arguments = [given[str(i)] for i in range(len(question["arguments"]))]
        value = function(*arguments, **{name: given["=" + name] for name in question["keywords"]})
        reply = {"value": encode(value, keep)}
        changed = {}
        for place, argument in watched.items():
            after = encode(argument, keep)
            if after != before[place]:
                if type(argument) not in MUTABLE:
                    raise Unsupported("a change inside an argument of type `%s`" % type(argument).__name__)
                changed[place] = after
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
            return {"raised": [type(error).__name__[:80], brief(error)]}

    def load():
        exec(compile(start["source"], "<program>", "exec"), names)
        return {"ready": True}

    reply = attempt(load)
    wire.send(reply)
    if "ready" in reply:
        while True:
            question = wire.receive()
            reply = attempt(lambda: answer(question))
            reply["id"] = question["id"]
            try:
                wire.send(reply)
            except (TypeError, ValueError, RecursionError, MemoryError) as error:
                wire.send({"raised": [type(error).__name__, brief(error)], "id": question["id"]})
