# Prints the programs of a HumanEval or MBPP file (the argument) as JSON lines: tests, a mutant (one operator replaced), and
# whether program and mutant pass in plain CPython.
import ast, gzip, hashlib, json, os, signal, sys

SWAP = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Lt: ast.LtE,
    ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And,
}


def mutant(source, name):
    tree = ast.parse(source)
    places = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in SWAP:
            places.append((node, "op", SWAP[type(node.op)]()))
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAP:
            places.append((node, "ops", [SWAP[type(node.ops[0])]()] + node.ops[1:]))
    if not places:
        return None
    node, field, value = places[int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(places)]
    setattr(node, field, value)
    return ast.unparse(tree)


def passes(source, setup, tests, seconds):
    "Whether the tests pass; None after a timeout."
    pid = os.fork()
    if pid == 0:
        signal.alarm(seconds)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        try:
            space = {"__name__": "__candidate__"}
            exec(source, space)
            exec(setup, space)
            exec(source, space)
            for test in tests:
                exec(test, space)
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    return None if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else status == 0


for line in (gzip.open if sys.argv[1].endswith("gz") else open)(sys.argv[1], "rt"):
    p = json.loads(line)
    if "canonical_solution" in p:
        name, source = p["task_id"], p["prompt"] + p["canonical_solution"]
        setup, functions = p["prompt"] + "    pass\n" + p["test"], [p["entry_point"]]
        tests = ["check(%s)" % p["entry_point"]]
    else:
        name, source, functions, tests = "MBPP/%d" % p["task_id"], p["code"].replace("\r\n", "\n"), [], p["test_list"]
        setup = p["test_setup_code"].replace("\r\n", "\n")
    try:
        other = mutant(source, name)
    except SyntaxError:
        other = None
    out = {"id": name, "source": source, "setup": setup, "functions": functions, "tests": tests, "mutant": other}
    out["row"] = {key: p[key] for key in ("prompt", "test", "entry_point", "test_list", "test_setup_code") if key in p}
    out["source_passes"] = passes(source, setup, tests, 30)
    out["mutant_passes"] = other and passes(other, setup, tests, 2)
    # A mutant that timed out is left out: the sandbox has other limits.
    out["mutant"] = other if out["mutant_passes"] is not None else None
    print(json.dumps(out), flush=True)
