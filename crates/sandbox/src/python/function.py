# A user's reward function: loads it from the texts of its modules, finds out which form it has, and calls it with the
# replies to one prompt. Serves the jail and the processes of trusted functions.
import copy, difflib, importlib.machinery, inspect, io, linecache, math, sys, traceback, types

FORMS = (
    "`f(prompts, completions, **columns)`, which returns a list with a number per completion, as in TRL; "
    "`compute_score(data_source, solution_str, ground_truth, extra_info=None)`, which returns a number or a dict with "
    "`score`, as in verl; `f(prompt, candidate_response, reference_response)`, which returns a number"
)
# The arguments that every call of a form has. Functions of rlar's form get theirs, the first three, by position.
GIVEN = {
    "trl": ("prompts", "completions", "completion_ids", "trainer_state"),
    "verl": ("data_source", "solution_str", "ground_truth", "extra_info"),
}
# Number of characters that are kept of what a function prints in one call.
PRINTED = 4096
# Number of characters that are kept of what a function prints for one reply.
PRINTED_FOR_REPLY = 500


class Wrong(Exception):
    "What is wrong with a function or its result, in words for its author."


class Printed(io.TextIOBase):
    "Stands for standard output and error during a call, and keeps the beginning of what is written."

    encoding = "utf-8"

    def __init__(self, room=PRINTED, whole=None):
        "Keeps `room` characters. What is written is also written to the stream `whole`, if there is one."
        self.room, self.whole, self.kept, self.length = room, whole, [], 0

    def __getattr__(self, name):
        "What only a stream with a descriptor has, such as `buffer`, is that of the process."
        return getattr(sys.__stdout__, name)

    def fileno(self):
        return sys.__stdout__.fileno()

    def writable(self):
        return True

    def write(self, text):
        if self.whole is not None:
            self.whole.write(text)
        room = self.room - self.length
        if room > 0:
            self.kept.append(str(text[:room]))
        self.length += len(text)
        return len(text)

    def text(self):
        more = self.length - self.room
        cut = "\n… (%d more characters)\n" % more if more > 0 else ""
        return ("".join(self.kept) + cut).encode("utf-8", "replace").decode()


def capture(work):
    "Calls `work` and returns its result with what it printed."
    printed, streams = Printed(), (sys.stdout, sys.stderr)
    sys.stdout = sys.stderr = printed
    try:
        result = work()
    finally:
        sys.stdout, sys.stderr = streams
    result["printed"] = printed.text()
    return result


class Modules:
    "Imports modules from texts in memory; their keys are paths in the folder of the function's file."

    def __init__(self, files, folder):
        self.files, self.folder = files, folder

    def find_spec(self, name, path=None, target=None):
        base = name.replace(".", "/")
        for file, is_package in ((base + "/__init__.py", True), (base + ".py", False)):
            if file in self.files:
                spec = importlib.machinery.ModuleSpec(name, self, origin=self.path(file), is_package=is_package)
                spec.loader_state, spec.has_location = file, True
                return spec
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        self.run(module.__spec__.loader_state, module)

    def path(self, file):
        return self.folder + "/" + file if self.folder else file

    def run(self, file, module):
        text = self.files[file]
        # So that a traceback can show the line.
        linecache.cache[file] = (len(text), None, text.splitlines(True), file)
        exec(compile(text, file, "exec"), module.__dict__)


def place(error, files):
    "Where in the user's files an exception came from, such as `reward.py:12`; empty if it came from elsewhere."
    if isinstance(error, SyntaxError) and error.filename in files:
        return "%s:%s" % (error.filename, error.lineno)
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename in files:
            found = "%s:%d" % (frame.f_code.co_filename, line)
    return found


def explain(error, files):
    "Type, text and place of an exception in one line."
    if type(error) is Wrong:
        return str(error)
    try:
        where = place(error, files)
    except BaseException:
        where = ""
    # The message of a syntax error ends with its place in other words.
    text = "SyntaxError: %s" % error.msg if type(error) is SyntaxError and where else brief(error)
    return "%s (%s)" % (text, where) if where else text


def near(name, names):
    found = difflib.get_close_matches(name, list(names), 1, 0.5)
    return "; did you mean `%s`?" % found[0] if found else ""


def form_of(function, shown, kwargs):
    """The form of a function by the names of its parameters: `trl`, `verl` or `rlar`. `kwargs` are the keyword arguments that
    every call has besides those of the form."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
              and p.name not in kwargs]
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if {"prompts", "completions", "completion_ids"} & set(names) or (takes_all and not names[:-1]):
        return "trl"
    if "solution_str" in names:
        return "verl"
    if positional[:1] == ["prompt"] and len(positional) >= 3 and set(needed) <= set(positional[:3]):
        return "rlar"
    raise Wrong("%s takes (%s), which is none of the three forms of a reward function: %s" % (
        shown, ", ".join(names), FORMS))


class RewardFunction:
    "A loaded reward function, which gets `kwargs` in every call."

    def __init__(self, files, file, name, kwargs, folder=""):
        self.files, self.name, self.kwargs = files, name, kwargs
        modules = Modules(files, folder)
        sys.meta_path.insert(0, modules)
        stem = file[:-len(".py")]
        # A file may have the name of a standard module that is loaded already.
        own = types.ModuleType("__reward__" if stem in sys.modules else stem)
        own.__file__ = modules.path(file)
        sys.modules[own.__name__] = own
        modules.run(file, own)
        found = vars(own).get(name)
        if not callable(found):
            known = [n for n, v in vars(own).items() if inspect.isfunction(v) and v.__module__ == own.__name__]
            kind = "holds no function" if found is None else "has another kind of value than a function as"
            raise Wrong("%s %s `%s`%s; its functions: %s" % (
                file, kind, name, near(name, known), ", ".join(known) or "none"))
        self.function = found
        code = getattr(inspect.unwrap(found), "__code__", None)
        line = ":%d" % code.co_firstlineno if code and code.co_filename in files else ""
        self.shown = "`%s` (%s%s)" % (name, code.co_filename if line else file, line)
        self.parameters = inspect.signature(found).parameters
        self.form = form_of(found, self.shown, kwargs)
        self.check_kwargs()
        # The columns of the present request, for messages, and what the function printed for each of its replies.
        self.columns, self.prints = {}, []

    def check_kwargs(self):
        "Refuses a keyword argument that the function does not take, or that every call has with another value."
        parameters = self.parameters.values()
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        given = GIVEN.get(self.form) or list(self.parameters)[:3]
        free = [name for name in named if name not in given]
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        for key in self.kwargs:
            if key in given:
                raise Wrong("`kwargs` gives %s the argument `%s`, which every call has already" % (self.shown, key))
            if key not in free and not takes_all:
                raise Wrong("%s does not take the keyword argument `%s` of `kwargs`%s; it takes: %s" % (
                    self.shown, key, near(key, free), ", ".join(free) or "no further ones"))

    def call(self, request):
        """The reply to a request: the results for the replies of a group, or why there are none; what was printed; and what of
        it for each reply, if the function scores them one by one."""
        return capture(lambda: self.outcome(request))

    def outcome(self, request):
        self.prints = []
        try:
            results = self.results(request)
            return {"results": results, "prints": self.prints}
        except MemoryError:
            return {"memory": True}
        except Wrong as error:
            return {"wrong": str(error)}
        except BaseException as error:
            return {"raised": explain(error, self.files)}

    def results(self, request):
        self.columns = request["columns"]
        if self.form == "trl":
            return self.of_list(self.awaited(self.function(**self.chosen(batch_arguments(request)))), request)
        if self.form == "verl":
            one = lambda reply: self.function(**self.chosen(row_arguments(request, reply)))
        else:
            one = lambda reply: self.function(
                request["prompt"], reply, request["reference"], **copy.deepcopy(self.kwargs))
        return [self.number(self.alone(one, reply)) for reply in request["replies"]]

    def alone(self, score, reply):
        "The value for one reply; keeps what the function prints for it."
        whole, own = sys.stdout, Printed(PRINTED_FOR_REPLY, sys.stdout)
        sys.stdout = sys.stderr = own
        try:
            return self.awaited(score(reply))
        finally:
            sys.stdout = sys.stderr = whole
            self.prints.append(own.text())

    def awaited(self, value):
        "The value of a coroutine, if the function is one."
        if not inspect.iscoroutine(value):
            return value
        return finish(value)

    def chosen(self, arguments):
        """The arguments that the function has parameters for, and `kwargs`. A column that it needs and the row lacks is an
        error."""
        parameters = self.parameters.values()
        arguments = {**arguments, **copy.deepcopy(self.kwargs)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            arguments = {key: value for key, value in arguments.items() if key in self.parameters}
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        for p in named:
            if p.default is p.empty and p.name not in arguments:
                columns = sorted(self.columns)
                raise Wrong("%s needs `%s`, which the row does not have%s; it has: %s" % (
                    self.shown, p.name, near(p.name, columns), ", ".join(columns) or "no columns"))
        return arguments

    def of_list(self, values, request):
        count = len(request["replies"])
        if not isinstance(values, (list, tuple)) and hasattr(values, "tolist"):
            values = values.tolist()
        if not isinstance(values, (list, tuple)):
            raise Wrong("%s returned a value of type %s; a list with a number per completion is expected" % (
                self.shown, type(values).__name__))
        if len(values) != count:
            raise Wrong("%s returned %d values for %d completions" % (self.shown, len(values), count))
        return [self.number(value) for value in values]

    def number(self, value):
        "A score as a float, `None`, or an object that says what the value is instead."
        if value is None:
            return None
        if self.form == "verl" and isinstance(value, dict):
            if "score" not in value:
                return {"wrong": "%s returned a dict without `score`" % self.shown}
            value = value["score"]
        if not isinstance(value, (int, float)) and hasattr(value, "item"):
            value = value.item()
        # TRL and verl convert truth values to numbers; a verifier's truth value is an error.
        if not isinstance(value, (int, float)) or (isinstance(value, bool) and self.form == "rlar"):
            return {"wrong": "%s returned a value of type %s" % (self.shown, type(value).__name__[:80])}
        if isinstance(value, int) and abs(value) >= 2**53:
            return {"wrong": "%s returned an integer beyond 2**53" % self.shown}
        value = float(value)
        return value if math.isfinite(value) else {"wrong": "%s returned %r" % (self.shown, value)}


def finish(coroutine):
    "Runs a coroutine to its end."
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise Wrong("it waits for something outside, which only a function with `trusted: true` can do")


def repeated(value, count):
    "A list with `value` `count` times; a function that changes one of them does not change the others."
    is_plain = value is None or isinstance(value, (str, int, float))
    return [value if is_plain else copy.deepcopy(value) for _ in range(count)]


def batch_arguments(request):
    "The arguments of TRL: a list with a value per completion for each column."
    replies, count = request["replies"], len(request["replies"])
    unlisted = ("prompt", "completion", "completion_ids")
    arguments = {key: repeated(value, count) for key, value in request["columns"].items() if key not in unlisted}
    if request["conversational"]:
        prompt = request["messages"]
        completions = [[{"role": "assistant", "content": reply}] for reply in replies]
    else:
        prompt, completions = request["prompt"], replies
    state = types.SimpleNamespace(**request["state"])
    arguments.update(
        prompts=repeated(prompt, count), completions=completions, completion_ids=request["ids"], trainer_state=state)
    return arguments


def row_arguments(request, reply):
    "The arguments of verl, which scores one reply at a time."
    columns = request["columns"]
    model = columns.get("reward_model")
    if isinstance(model, dict) and "ground_truth" in model:
        truth = model["ground_truth"]
    else:
        truth = columns.get("ground_truth", columns.get("reference"))
    arguments = dict(columns)
    arguments.update(
        data_source=columns.get("data_source", columns.get("domain", "")), solution_str=reply, ground_truth=truth,
        extra_info=columns.get("extra_info", columns))
    return copy.deepcopy(arguments)
