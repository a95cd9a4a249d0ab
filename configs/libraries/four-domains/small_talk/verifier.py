import re

# What a prompt says, how a fitting reply begins, and what it says then.
ACTS = (
    (r"\b(thank|kind)\b", r"you are welcome|it was a pleasure", r"enjoy|bring you"),
    (r"\b(lost|broken)\b", r"i am sorry|what a pity", r"to hear about|back"),
    (r"\bfind\b", r"with pleasure|please try", r"look for|often has"),
    (r"\b(like|nice)\b", r"how nice|that is lovely", r"make you happy|as well"),
    (r"\b(tell|know)\b", r"certainly|of course", r"tell you|talk about"),
)
RUDE = re.compile(r"\b(fool|stupid|silly|hate|shut|who cares|leave me|go away)\b")


def compute_small_talk(prompt, candidate_response, reference_response):
    asked, reply = prompt.lower(), candidate_response.strip().lower()
    likes = re.match(r"i like (\w+ \w+)", asked)
    thing = likes[1] if likes else " ".join(re.findall(r"\w+", asked)[-2:])
    asks = [re.search(cue, asked) is not None for cue, _, _ in ACTS]
    act = asks.index(True) if any(asks) else None
    if act is None or not re.match(ACTS[act][1], reply):
        return 0.0
    if any((re.search(says, reply) is not None) != (i == act) for i, (_, _, says) in enumerate(ACTS)):
        return 0.0
    words = reply.split()
    runs = [tuple(words[i:i + 3]) for i in range(len(words) - 2)]
    is_one_sentence = re.fullmatch(r"[^.!?\n]+[.!]", reply) is not None and 6 <= len(words) <= 14
    is_about_it = reply.count(thing) == 1
    return float(is_one_sentence and is_about_it and not RUDE.search(reply) and len(set(runs)) == len(runs))
