# Serves one scoring function: calls in, a score or an object that says why not for each out.
def load(source, name):
    space = module("__verifier__")
    exec(compile(source, "<verifier>", "exec"), space)
    function = space.get(name)
    if not callable(function):
        raise NameError("it defines no function `%s`" % name)
    return function


def score(function, arguments):
    try:
        value = function(*arguments)
    except MemoryError:
        return {"memory": True}
    except BaseException as error:
        return {"raised": brief(error)}
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else {"infinite": repr(value)}
    if kind is int:
        return float(value) if abs(value) < 2**53 else {"infinite": "an integer beyond 2**53"}
    return {"type": kind.__name__[:80]}


def serve_verifier(order, fds, setup):
    wire = Wire(fds[0])
    start = wire.receive()
    confine(order, setup)
    try:
        function = load(start["source"], start["function"])
    except BaseException as error:
        wire.send({"load": brief(error)})
        return
    if not start.get("once"):
        wire.send({"ready": True})
    while True:
        wire.send([score(function, arguments) for arguments in wire.receive()])
