# Holds untrusted functions and answers calls with plain data. It never sees the tests.
MUTABLE = (list, dict, set, bytearray, collections.deque)


def serve_candidate(order, fds, setup):
    wire = Wire(fds[0])
    start = wire.receive()
    confine(order, setup)
    kept, names = {}, module("__candidate__")

    def keep(x):
        if isinstance(x, collections.abc.Iterator):
            return iterator(x, keep)
        kept[len(kept)] = x
        return {"object": [len(kept) - 1, type(x).__name__[:80], callable(x)]}

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
        arguments = [decode(a, remote) for a in question["arguments"]]
        value = function(*arguments, **{k: decode(v, remote) for k, v in question["keywords"].items()})
        reply = {"value": encode(value, keep)}
        changed = {}
        for i, (now, before) in enumerate(zip(arguments, question["arguments"])):
            if type(now) in MUTABLE and (after := encode(now, keep)) != before:
                changed[i] = after
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
