# Building blocks of verifiers: pure functions on texts, which a verifier imports with `from rlar_tools import chrf`.
# Each has a value for every text, and takes less than a second for the worst of 20,000 characters. `bleu`, `chrf`,
# `edit_similarity`, `exact_match`, `last_number`, `rouge_1`, `rouge_2`, `rouge_l` and `token_f1` agree with rlar's curated
# tools. Those abstain where the reference is empty; the functions here have a value.
from __future__ import annotations
import ast, builtins, math, re, unicodedata, warnings
from collections import Counter

# Largest numbers of items and of characters that are compared in order; the rest of longer lists and texts does not count.
_MAX_ITEMS, _MAX_CHARACTERS = 4000, 4000
# Largest length of a program that is parsed, in characters.
_MAX_CODE = 100_000

# A number that does not continue a word, as in `H2O`; a unit may follow. A minus directly after a digit is an operator.
_NUMBER = (
    r"(?:(?<![0-9])[-−])?(?<![0-9A-Za-z_À-ÖØ-öø-ӿ])"
    r"(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+(?![0-9A-Za-z]))?"
)
_ANSWER = r"(?i)\b(?:answer|antwort)[*_ ]{0,4}(?:(?:is|ist|lautet)\b|:)[*_: ]{0,4}"
# The scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Chinese, Japanese.
_UNSPACED = r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
# Letters, digits and marks that combine with them, with apostrophes inside.
_WORD = r"(?:[^\W_]|[\u0300-\u036f\u0900-\u0963\u0966-\u0dff])+(?:['’][^\W_]+)*"
# What sacrebleu takes for Chinese characters.
_CHINESE = (
    r"[\u3400-\u4db5\u4e00-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\u2001-\u2a6d\u2f81-\u2fa1\uff00-\uffef"
    r"\u2e80-\u2eff\u3000-\u303f\u31c0-\u31ef\u2f00-\u2fdf\u2ff0-\u2fff\u3100-\u312f\u31a0-\u31bf\ufe10-\ufe1f\ufe30-\ufe4f"
    r"\u3200-\u33ff]"
)
# Words whose full stop ends no sentence, also before a capital letter.
_ABBREVIATIONS = frozenset("dr mr mrs ms prof st vs fig vol cf approx bzw ca vgl nr abb evtl ggf inkl sog bspw".split())


def numbers(text) -> list[float]:
    "All numbers in the text, in order. Example: numbers('-3 of 1,200, so 0.25%') == [-3.0, 1200.0, 0.25]"
    found = (float(number.replace(",", "").replace("−", "-")) for number in re.findall(_NUMBER, text))
    return [number for number in found if math.isfinite(number)]


def last_number(text) -> float | None:
    "The last number in the text, or None if there is none. Example: last_number('3 + 4 = 7.') == 7.0"
    found = numbers(text)
    return found[-1] if found else None


def same_number(a, b) -> bool:
    "Whether two numbers, or the last numbers of two texts, are equal. Example: same_number(None, 1) is False"
    a, b = (last_number(x) if isinstance(x, str) else x for x in (a, b))
    return a is not None and b is not None and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12)


def final_answer(text) -> str:
    r"What follows `####`, is in \boxed{}, or follows 'answer is'; else the last line. Example: final_answer('A #### 7') == '7'"
    if "####" in text:
        return _first_line(text[text.rindex("####") + 4:])
    if "\\boxed{" in text:
        return _in_braces(text[text.rindex("\\boxed{") + 7:])
    marks = list(re.finditer(_ANSWER, text))
    answer = _first_line(text[marks[-1].end():]) if marks else ""
    if answer:
        sentence = re.split(r"[.!?](?:\s|$)", answer, maxsplit=1)[0]
        return sentence.strip(" \t*_`$") or answer
    return text.strip().split("\n")[-1].strip()


def _first_line(text):
    return text.strip().split("\n")[0].strip()


def _in_braces(text):
    "The text up to the brace that closes the one before it."
    depth = 1
    for i, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:i].strip()
    return text.strip()


def words(text) -> list[str]:
    "The words in lower case, without punctuation. Example: words('Ja, it is 5!') == ['ja', 'it', 'is', '5']"
    text = unicodedata.normalize("NFC", text.lower())
    return re.findall(_WORD, re.sub(_UNSPACED, r" \g<0> ", text))


def sentences(text) -> list[str]:
    "The sentences; a line break ends one, too. Example: sentences('I saw Dr. Lee. Did you?') == ['I saw Dr. Lee.', 'Did you?']"
    found = []
    for line in re.sub("[。！？]", r"\g<0> ", text).splitlines():
        words, start = line.split(), 0
        for i, word in enumerate(words):
            if i + 1 == len(words) or _ends_sentence(word, words[i + 1], i == start):
                found.append(" ".join(words[start:i + 1]))
                start = i + 1
    return found


def _ends_sentence(word, following, is_first):
    "Whether a sentence ends with a word: not after an abbreviation, an initial or the number of a list item."
    bare = word.rstrip("\"'”’»)]*_")
    if not bare.endswith((".", "!", "?", "…", "。", "！", "？")) or following[0].islower():
        return False
    stem = bare[:-1].lstrip("\"'“‘„«([*_").lower()
    is_short = all(len(part) == 1 and part.isalpha() for part in stem.split("."))
    return not (bare[-1] == "." and (stem in _ABBREVIATIONS or is_short or (is_first and stem.isdigit())))


def ngrams(tokens, n) -> list[tuple]:
    "All runs of n neighbouring words or items. Example: ngrams(['a', 'b', 'c'], 2) == [('a', 'b'), ('b', 'c')]"
    tokens = _items(tokens)
    return [tuple(tokens[i:i + n]) for i in range(len(tokens) - n + 1)] if n > 0 else []


def _items(x):
    return words(x) if isinstance(x, str) else list(x)


def _shared(a, b):
    "How many items two lists have in common; an item counts as often as both have it."
    a, b = Counter(a), Counter(b)
    return sum(min(count, b[item]) for item, count in a.items() if item in b)


def _f1(matched, candidate, reference):
    "F1 from the number of matches and the numbers of items in candidate and reference."
    precision, recall = matched / max(candidate, 1), matched / max(reference, 1)
    return 2.0 * precision * recall / (precision + recall) if matched else 0.0


def token_f1(a, b) -> float:
    "F1 of the words that two texts share, in any order, without articles. Example: token_f1('the cat sat', 'a cat ran') == 0.5"
    a, b = (_content_words(x) if isinstance(x, str) else list(x) for x in (a, b))
    return 2.0 * _shared(a, b) / max(len(a) + len(b), 1)


def _content_words(text):
    text = "".join(c if c.isalnum() else " " for c in text.lower())
    return [word for word in text.split() if word not in ("a", "an", "the")]


def longest_common_subsequence(a, b) -> int:
    "How many words or items two texts or lists share in order. Example: longest_common_subsequence('a b c', 'a x c') == 2"
    a, b = _items(a)[:_MAX_ITEMS], _items(b)[:_MAX_ITEMS]
    # A bit per item of `a` (Hyyrö, 2004): a zero marks where the subsequence grows.
    places = _places(a)
    every = (1 << len(a)) - 1
    row = every
    for item in b:
        matches = row & places.get(item, 0)
        row = ((row + matches) | (row - matches)) & every
    return len(a) - bin(row).count("1")


def _places(items):
    "For each item the positions at which it stands, as bits."
    places = {}
    for i, item in enumerate(items):
        places[item] = places.get(item, 0) | (1 << i)
    return places


def rouge_1(candidate, reference) -> float:
    "ROUGE-1: F1 of the words that two texts share. Example: rouge_1('the cat', 'a cat') == 0.5"
    return _rouge_n(candidate, reference, 1)


def rouge_2(candidate, reference) -> float:
    "ROUGE-2: F1 of the word pairs that two texts share. Example: rouge_2('the cat sat', 'the cat ran') == 0.5"
    return _rouge_n(candidate, reference, 2)


def _rouge_n(candidate, reference, n):
    a, b = (ngrams(_plain_words(text), n) for text in (candidate, reference))
    return _f1(_shared(a, b), len(a), len(b))


def _plain_words(text):
    "The tokens of rouge-score: runs of ASCII letters and digits."
    return re.findall("[a-z0-9]+", text.lower())


def rouge_l(candidate, reference) -> float:
    "ROUGE-L: F1 of the words that two texts share in the same order. Example: rouge_l('a b c d', 'a c b d') == 0.75"
    a, b = _plain_words(candidate)[:_MAX_ITEMS], _plain_words(reference)[:_MAX_ITEMS]
    return _f1(longest_common_subsequence(a, b), len(a), len(b))


def bleu(candidate, reference) -> float:
    "BLEU, from 0 to 1: runs of one to four words that the reference has, too. Example: bleu('so it is', 'so it is') > 0.99"
    han = len(re.findall("[\u3400-\u9fff]", reference))
    is_chinese = 2 * han > sum(character.isalpha() for character in reference)
    a, b = (_bleu_tokens(text, is_chinese) for text in (candidate, reference))
    matches = [_shared(ngrams(a, n), ngrams(b, n)) for n in range(1, 5)]
    if not any(matches):
        return 0.0
    # Sentence BLEU of sacrebleu: exponential smoothing, and only the orders for which the candidate is long enough.
    order = min(len(a), 4)
    logarithms, halvings = 0.0, 1.0
    for n, matched in enumerate(matches[:order], 1):
        halvings *= 1.0 if matched else 2.0
        logarithms += math.log((matched or 1.0 / halvings) / (len(a) - n + 1))
    brevity_penalty = math.exp(1.0 - len(b) / len(a)) if len(a) < len(b) else 1.0
    return min(brevity_penalty * math.exp(logarithms / order), 1.0)


def _bleu_tokens(text, is_chinese):
    "The tokens of sacrebleu's tokenizers `zh` and `13a`."
    if is_chinese:
        text = re.sub(_CHINESE, r" \g<0> ", text.strip())
    else:
        text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
        for name, sign in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
            text = text.replace(name, sign)
        text = " " + text + " "
    text = re.sub(r"[{-~\[-` -&(-+:-@/]", r" \g<0> ", text)
    text = re.sub(r"([^0-9])([.,])", r"\1 \2 ", text)
    text = re.sub(r"([.,])([^0-9])", r" \1 \2", text)
    return re.sub(r"([0-9])-", r"\1 - ", text).split()


def chrf(candidate, reference) -> float:
    "chrF, from 0 to 1: shared runs of one to six characters, for translations. Example: chrf('Guten Tag', 'Guten Tag') > 0.99"
    a, b = ("".join(text.split()) for text in (candidate, reference))
    precision = recall = 0.0
    orders = min(len(a), len(b), 6)
    for n in range(1, orders + 1):
        runs = [[text[i:i + n] for i in range(len(text) - n + 1)] for text in (a, b)]
        matched = _shared(*runs)
        precision += matched / len(runs[0])
        recall += matched / len(runs[1])
    if precision + recall == 0.0:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return min(5.0 * precision * recall / (4.0 * precision + recall), 1.0)


def edit_similarity(a, b) -> float:
    "1 minus the share of characters to insert, delete or replace. Example: edit_similarity('house', 'mouse') == 0.8"
    a, b = a.strip()[:_MAX_CHARACTERS], b.strip()[:_MAX_CHARACTERS]
    return 1.0 - _edit_distance(a, b) / max(len(a), len(b), 1)


def _edit_distance(a, b):
    "Levenshtein distance, with a bit per character of `a` (Hyyrö, 2003: the rows of differences +1 and −1)."
    if not a:
        return len(b)
    every, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    places, distance = _places(a), len(a)
    plus, minus = every, 0
    for character in b:
        matches = places.get(character, 0)
        diagonal = ((((matches & plus) + plus) ^ plus) | matches | minus) & every
        right_plus, right_minus = minus | (every & ~(diagonal | plus)), plus & diagonal
        distance += bool(right_plus & last) - bool(right_minus & last)
        right_plus, right_minus = (right_plus << 1 | 1) & every, right_minus << 1 & every
        plus, minus = right_minus | (every & ~(diagonal | right_plus)), right_plus & diagonal
    return distance


def exact_match(a, b) -> float:
    "1.0 if two texts are equal but for case and white space, else 0.0. Example: exact_match('New  York', 'new york') == 1.0"
    return float(a.lower().split() == b.lower().split())


def contains_all(text, parts) -> float:
    "Share of the parts that the text contains; 1.0 if there are none. Example: contains_all('Red, blue', ['red', 'x']) == 0.5"
    text, *parts = (" ".join(x.lower().split()) for x in (text, *([parts] if isinstance(parts, str) else parts)))
    parts = [part for part in parts if part]
    return sum(part in text for part in parts) / len(parts) if parts else 1.0


def length_ratio(a, b) -> float:
    "Words of the shorter text divided by those of the longer. Example: length_ratio('one two', 'one two three four') == 0.5"
    a, b = len(words(a)), len(words(b))
    return min(a, b) / max(a, b) if a or b else 1.0


def code_block(text) -> str:
    "The code in the last ``` block; the whole text if there is none. Example: code_block('x = 1') == 'x = 1'"
    block, fence = None, ""
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        mark = bare[:1] * (len(bare) - len(bare.lstrip(bare[:1])))
        if fence and bare == mark and bare.startswith(fence):
            fence = ""
        elif fence:
            block.append(line)
        elif mark.startswith(("```", "~~~")) and "`" not in bare[len(mark):]:
            block, fence = [], mark
    return text if block is None else "".join(block)


def python_parses(code) -> bool:
    "Whether the text is valid Python. Example: python_parses('x = 1') and not python_parses('x = ')"
    return _parsed(code) is not None


def _parsed(code):
    "The syntax tree of a program; None if it has none, or is too long or nested too deeply."
    if len(code) > _MAX_CODE:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def defined_functions(code) -> list[str]:
    "Names of the functions and methods that Python code defines. Example: defined_functions('def f(x): return x') == ['f']"
    tree = _parsed(code)
    found = [] if tree is None else [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [node.name for node in sorted(found, key=lambda node: node.lineno)]


def same_program(a, b) -> float:
    "How alike two programs are, from 0 to 1; names of variables do not count. Example: same_program('x = 1', 'y = 1') == 1.0"
    a, b = _parsed(a), _parsed(b)
    if a is None or b is None:
        return 0.0
    a, b = _shape(a), _shape(b)
    return 1.0 if a == b else 2.0 * longest_common_subsequence(a, b) / (len(a) + len(b))


def _shape(tree):
    "The nodes of a syntax tree from first to last, without docstrings and without the names that the program itself chose."
    shape, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        children = list(ast.iter_child_nodes(node))
        may_have_docstring = isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if may_have_docstring and ast.get_docstring(node, False) is not None:
            children.remove(node.body[0])
        own = getattr(node, "attr", "")
        if isinstance(node, ast.Constant):
            own = repr(node.value)[:200]
        elif isinstance(node, ast.Name) and hasattr(builtins, node.id):
            own = node.id
        elif isinstance(node, ast.alias):
            own = node.name
        if not isinstance(node, ast.expr_context):
            shape.append(type(node).__name__ + " " + own)
        waiting.extend(reversed(children))
    return shape
