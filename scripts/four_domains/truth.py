"""Which replies are right in the four domains, by what the generators of the data know. No arm trains on it.

math         what follows the last `;` is the exact number; a hedge (`71 or 72`) is wrong
code         the program passes the two tests of its prompt and six further ones, which are in no training data
translation  one of all strings that the grammar accepts for the source, up to an initial capital, a full stop and `ss` for `ß`
dialogue     the act that the prompt asks for, its subject, one sentence, polite, no repetition; see `dialogue_rules`
"""

import functools
import re
import unicodedata

from four_domains.generators import CODE, DIALOGUE, TRANSLATION

HIDDEN = 6
DOMAINS = ("math", "code", "translation", "dialogue")
WORD = re.compile(r"[^\W_]+")


def right_number(reply, reference):
    return reply.rsplit(";", 1)[-1].strip().removesuffix(".") == reference


# Code


@functools.cache
def functions():
    """Parameter, body and visible test inputs of every function, by its prompt."""
    return {f"Write f({parameter}): return {text}.": (parameter, body, inputs)
            for _, _, parameter, text, body, inputs in CODE.functions()}


def candidates(parameter, body):
    """Inputs that tell a function from its near misses: around its constant, of other signs and sizes, and empty."""
    a = int(re.search(r"\d+", body).group())
    if parameter == "x":
        return [a - 1, a + 2, 0, -a, 4 * a + 1, 1000, 7, -1, 5 * a, 2 * a + 3]
    if parameter == "s":
        return ["Hello, World" * 4, "q" * (a + 1), "", "xyz" * 11, "r" * a, "A b" * 12, "mn" * (a + 3), "7"]
    return [[7, -2, a + 1, a - 1], [a] * 3, [-5, -9], list(range(a + 2, 0, -1)), [a + 40, 0, a + 2, 3], [100, 50] * 20, [1, 1]]


@functools.cache
def hidden_tests(prompt):
    """Six tests of the function that a prompt asks for, beside those of the data."""
    parameter, body, inputs = functions()[prompt]
    seen = {repr(eval(value)) for value in inputs}
    further = [repr(value) for value in candidates(parameter, body) if repr(value) not in seen]
    tests = list(dict.fromkeys(CODE.tests(parameter, body, further)))[:HIDDEN]
    assert len(tests) == HIDDEN, prompt
    return tests


def all_tests(prompt):
    parameter, body, inputs = functions()[prompt]
    return [*CODE.tests(parameter, body, inputs), *hidden_tests(prompt)]


# Translation


def every_phrase():
    """English and German of everything that the grammar can say."""
    make = TRANSLATION.noun_phrase
    for adjective in TRANSLATION.ADJECTIVES:
        for noun in TRANSLATION.NOUNS:
            few = [(article, n) for n in range(2, 13) for article in ("", "the")]
            forms = [("the", None), ("a", None), ("the", 0), *few]
            for article, n in [*forms, *(("", n) for n in range(20, 100))]:
                english, german, _ = make(adjective, noun, "nominative", article, n)
                yield english, german
            for article, n in forms:
                english, german, _ = make(adjective, noun, "nominative", article, n)
                for sleeps, sleep, schläft, schlafen in TRANSLATION.VERBS:
                    many = n is not None
                    yield [*english, sleep if many else sleeps], [*german, schlafen if many else schläft]
                english, german, _ = make(adjective, noun, "accusative", article, n)
                for see, sehe, _ in TRANSLATION.SIGHTS:
                    yield [see, *english], [sehe, *german]


def spelling(text):
    """A text in the spelling in which translations are compared."""
    text = " ".join(unicodedata.normalize("NFC", text).split()).removesuffix(".").replace("ß", "ss")
    return text[:1].lower() + text[1:]


@functools.cache
def translations():
    """The strings that the grammar accepts, by the prompt."""
    accepted = {}
    for english, german in every_phrase():
        accepted.setdefault("In German: " + " ".join(english), set()).add(spelling(" ".join(german)))
    return accepted


# Dialogue


def words(text):
    return WORD.findall(text.lower())


def split_things(text):
    """The words of a text with `{}` in the place of every thing that one can talk about, and these things in their order."""
    kept, things, rest = [], [], words(text)
    while rest:
        if len(rest) > 1 and rest[0] in DIALOGUE.ADJECTIVES and rest[1] in DIALOGUE.NOUNS:
            things.append(" ".join(rest[:2]))
            kept.append("{}")
            rest = rest[2:]
        else:
            kept.append(rest.pop(0))
    return kept, things


@functools.cache
def frames():
    """The prompts without their thing, with the good replies to them in the same form."""
    empty = lambda text: split_things(text.format("old trains"))[0]
    known = {}
    for prompts, replies in DIALOGUE.TALK.values():
        known.update({tuple(empty(prompt)): [empty(reply) for reply in replies] for prompt in prompts})
    return known


@functools.cache
def rude_words():
    """The words of rude replies that no good reply or prompt has."""
    fine = " ".join(text for prompts, replies in DIALOGUE.TALK.values() for text in (*prompts, *replies))
    return set(words(" ".join(DIALOGUE.RUDE))) - set(words(fine))


def dialogue_rules(prompt, reply):
    """Which of the five rules a reply to a prompt keeps."""
    frame, (thing,) = split_things(prompt)
    said, things = split_things(reply)
    pairs = list(zip(said, said[1:]))
    marks = [c for c in reply.strip() if c in ".!?\n"]
    return {
        "act": said in frames()[tuple(frame)],
        "subject": things == [thing],
        "one sentence": len(marks) == 1 and reply.strip()[-1] in ".!",
        "polite": not rude_words() & set(said),
        "no repetition": len(set(pairs)) == len(pairs),
    }


def judge(row, reply):
    """Whether a reply to a row is right; `None` for code, whose programs run in the sandbox of rlar."""
    if row["domain"] == "math":
        return right_number(reply, row["reference"])
    if row["domain"] == "translation":
        return spelling(reply) in translations()[row["prompt"]]
    if row["domain"] == "dialogue":
        return all(dialogue_rules(row["prompt"], reply).values())
    return None
