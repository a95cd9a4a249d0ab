# Serves one verifier: for each call, sends the score, or an object with the score or the reason why there is none, and what
# was printed.
def load(code, blocks, name):
    "The verifier's function. `blocks` is the code of the module `rlar_tools`, or `None` if the verifier does not use it."
    if blocks is not None:
        exec(blocks, module("rlar_tools"))
    space = module("__verifier__")
    exec(code, space)
    function = space.get(name)
    if not callable(function):
        raise NameError("it defines no function `%s`" % name)
    return function


def score(function, arguments):
    "The score, or an object with the reason why there is none."
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


def answer(function, arguments, printed):
    "The reply to one call; if the function printed something, with the beginning of it. `printed` stands for standard output."
    sys.stdout = printed
    printed.kept, printed.length = [], 0
    reply = score(function, arguments)
    # Untrusted code may have changed the stream.
    try:
        if printed.length:
            reply = dict(reply if type(reply) is dict else {"score": reply}, printed=printed.text())
    except BaseException:
        pass
    return reply


def serve_verifier(order, fds, setup):
    wire = Wire(fds[0])
    start = wire.receive()
    vars(builtins).update(SITE_BUILTINS)
    confine(order, setup)
    if "files" in start:
        serve_reward_function(wire, start)
    else:
        score_calls(wire, start)


def score_calls(wire, start):
    try:
        known, compiled = start.get("compiled"), ""
        if known is None:
            code = compile(start["source"], "<verifier>", "exec")
            blocks = compile(start["blocks"], "<rlar_tools>", "exec") if start["blocks"] else None
            compiled = base64.b64encode(marshal.dumps((code, blocks))).decode()
        else:
            code, blocks = marshal.loads(base64.b64decode(known))
        function = load(code, blocks, start["function"])
    except BaseException as error:
        wire.send({"load": brief(error)})
        return
    wire.send({"ready": compiled})
    printed = Printed(PRINTED_FOR_REPLY)
    while True:
        wire.send([answer(function, arguments, printed) for arguments in wire.receive()])


def serve_reward_function(wire, start):
    "Serves a user's reward function: for each group of replies, sends the results and what was printed."
    loaded = []

    def load():
        try:
            loaded.append(RewardFunction(start["files"], start["file"], start["function"], start["kwargs"]))
        except BaseException as error:
            return {"load": explain(error, start["files"])}
        return {"ready": loaded[0].form}

    wire.send(capture(load))
    while loaded:
        wire.send(loaded[0].call(wire.receive()))
