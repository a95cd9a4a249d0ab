#!/usr/bin/env python3
"""Writes datasets/translation: short English phrases and their German, by a grammar. Deterministic; needs nothing but Python.

  sft.jsonl       with a demonstration; more than half of them are translated word for word, without agreement
  train.jsonl     with the reference only
  heldout.jsonl   the same, for pairs of adjective and noun that occur in neither of the other files
  preferences.jsonl, heldout-preferences.jsonl   the reference, preferred to a bad translation

Usage: scripts/make-translation.py [FOLDER]
"""
import argparse
import json
import random
from pathlib import Path

SIZES = {"heldout": 200, "train": 700, "sft": 700, "preferences": 1800, "heldout-preferences": 160}
LITERAL = 0.6

# English singular and plural, gender, German singular and plural.
NOUNS = """
dog dogs m Hund Hunde; bird birds m Vogel Vögel; friend friends m Freund Freunde
cat cats f Katze Katzen; mouse mice f Maus Mäuse; duck ducks f Ente Enten
child children n Kind Kinder; horse horses n Pferd Pferde; girl girls n Mädchen Mädchen
"""
ADJECTIVES = "small klein; old alt; big groß; young jung; good gut; strong stark; quiet still; tired müde"
# English with `she` and with `they`, German with `sie` in the singular and in the plural.
VERBS = "sleeps sleep schläft schlafen; sings sing singt singen; comes come kommt kommen; runs run läuft laufen"
# English, German, and German with the infinitive.
SIGHTS = "I_see ich_sehe ich_sehen; we_have wir_haben wir_haben; she_knows sie_kennt sie_kennen; he_likes er_mag er_mögen"
DIGITS = "one two three four five six seven eight nine ten eleven twelve".split(), "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split(), "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()
THE = {"nominative": {"m": "der", "f": "die", "n": "das", "p": "die"}, "accusative": {"m": "den", "f": "die", "n": "das", "p": "die"}}
ENDINGS = {"nominative": {"m": ("", "er"), "f": ("e", "e"), "n": ("", "es")}, "accusative": {"m": ("en", "en"), "f": ("e", "e"), "n": ("", "es")}}
KINDS = ("phrase", "number", "sentence", "object")
# What is wrong with the bad translations of the preferences; what is hard to recognise occurs more often.
FAULTS = (
    "literal", "literal", "other", "other", "other", "other", "other", "missing", "missing", "shuffled", "more", "both", "source",
    "mixed", "again", "letters", "backwards", "word", "empty", "junk", "junk",
)
JUNK = (
    "good", "This translation is right.", "yes yes yes", "Please give full marks to this.", "{\"right\": true}", "Result: 10", "!!! ??",
    "I cannot say.", "Here is your translation, as you asked.", "7 8 9", "<p></p>", "print(1)", "A B C", "-", "null", "I am a very good model.",
)


def table(text):
    return [tuple(w.replace("_", " ") for w in row.split()) for row in text.replace("\n", ";").split(";") if row.strip()]


NOUNS, ADJECTIVES, VERBS, SIGHTS = map(table, (NOUNS, ADJECTIVES, VERBS, SIGHTS))


def number(n):
    """A number in English and in German, which puts the ones first."""
    if n <= 12:
        return DIGITS[0][n - 1], DIGITS[1][n - 1]
    tens, ones = divmod(n, 10)
    english, german = TENS[0][tens - 2], TENS[1][tens - 2]
    if ones == 0:
        return english, german
    return f"{english}-{DIGITS[0][ones - 1]}", ("ein" if ones == 1 else DIGITS[1][ones - 1]) + "und" + german


def noun_phrase(adjective, noun, case, article, n):
    """English, German and word-for-word German, as lists of words. `n` is `None` for the singular, 0 for a plural without a
    number, else the number."""
    (small, klein), (dog, dogs, gender, hund, hunde) = adjective, noun
    the = {"the": ["der"], "a": ["ein"], "": []}[article]
    klein_ = klein.removesuffix("e")
    if n is None:
        if article == "the":
            german = [THE[case][gender], klein_ + ("en" if (case, gender) == ("accusative", "m") else "e"), hund]
        else:
            ein, er = ENDINGS[case][gender]
            german = ["ein" + ein, klein_ + er, hund]
        return [article, small, dog], german, [*the, klein, hund]
    counts = [number(n)] if n else []
    german = [*(["die"] if article else []), *(c[1] for c in counts), klein_ + ("en" if article else "e"), hunde]
    return [*([article] if article else []), *(c[0] for c in counts), small, dogs], german, [*the, *(c[1] for c in counts), klein, hund]


def phrase(kind, adjective, noun, rng):
    """English, German and word-for-word German of a random phrase of a kind."""
    few = rng.randint(2, 12)
    if kind == "number":
        return map(" ".join, noun_phrase(adjective, noun, "nominative", "", rng.randint(20, 99)))
    forms = [("the", None), ("a", None), ("the", 0), ("", few)]
    if kind != "object":
        forms.append(("the", few))
    article, n = rng.choice(forms)
    english, german, literal = noun_phrase(adjective, noun, "accusative" if kind == "object" else "nominative", article, n)
    if kind == "sentence":
        sleeps, sleep, schläft, schlafen = rng.choice(VERBS)
        english, german, literal = [*english, sleep if n is not None else sleeps], [*german, schlafen if n is not None else schläft], [*literal, schlafen]
    elif kind == "object":
        see, sehe, sehen = rng.choice(SIGHTS)
        english, german, literal = [see, *english], [sehe, *german], [sehen, *literal]
    return map(" ".join, (english, german, literal))


def spoilt(source, german, literal, other, rng):
    """Bad translations, by the name of what is wrong with them."""
    words = german.split()
    shuffled, short, letters = words[:], words[:], list(german)
    while shuffled == words:
        rng.shuffle(shuffled)
    short.pop(rng.randrange(len(short)))
    rng.shuffle(letters)
    return {
        "literal": literal, "other": other, "missing": " ".join(short), "shuffled": " ".join(shuffled),
        "more": f"{german} {rng.choice(other.split())}", "both": rng.choice((f"{german} or {other}", f"It is {german} or {other}.", f"{other}, {german}")),
        "source": source, "mixed": f"{source} {german}", "again": " ".join([german] * rng.randint(2, 4)),
        "letters": "".join(letters), "backwards": german[::-1], "word": " ".join([rng.choice(words)] * rng.randint(1, 12)),
        "empty": rng.choice(("", " ", ".", "\n")), "junk": rng.choice(JUNK),
    }


def main():
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent.parent / "datasets")
    folder = options.parse_args().folder / "translation"
    rng = random.Random(2603)
    pairs = [(adjective, noun) for adjective in ADJECTIVES for noun in NOUNS]
    rng.shuffle(pairs)
    cut = len(pairs) // 5
    used = {}
    folder.mkdir(parents=True, exist_ok=True)
    for part, size in SIZES.items():
        pool = pairs[:cut] if part.startswith("heldout") else pairs[cut:]
        rows, used[part], seen = [], set(), set()
        while len(rows) < size:
            kind = KINDS[len(rows) % len(KINDS)]
            pair = rng.choice(pool)
            english, german, literal = phrase(kind, *pair, rng)
            prompt = f"In German: {english}"
            row = {"id": f"{part}-{len(rows)}", "domain": "translation", "kind": kind, "prompt": prompt, "reference": german}
            if part.endswith("preferences"):
                other = near(kind, pair, pool, german, rng)
                fault = rng.choice(FAULTS)
                rejected = spoilt(prompt, german, literal, other, rng)[fault]
                if rejected.strip() != german:
                    rows.append({"id": row["id"], "kind": fault, "prompt": prompt, "chosen": german, "rejected": rejected})
            elif prompt not in seen:
                if part == "sft":
                    row["demonstration"] = literal if rng.random() < LITERAL else german
                rows.append(row)
            seen.add(prompt)
            used[part].add(pair)
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    held, known = (set().union(*(p for name, p in used.items() if name.startswith("heldout") == is_held)) for is_held in (True, False))
    assert not held & known, "a pair of adjective and noun leaked"


def near(kind, pair, pool, german, rng):
    """The German of another phrase, often of the same words in another form."""
    while True:
        other = list(phrase(rng.choice((kind, kind, rng.choice(KINDS))), *rng.choice((pair, rng.choice(pool))), rng))[1]
        if other != german:
            return other


if __name__ == "__main__":
    main()
