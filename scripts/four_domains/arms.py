"""What each arm trains on: its config and its library of reward tools."""

import json
import re
import shutil
from pathlib import Path

from config_files import without
from four_domains.truth import DOMAINS

ROOT = Path(__file__).resolve().parent.parent.parent
CURATED = ROOT / "crates/rewards/library"
OWN = ROOT / "configs/libraries/four-domains"
STEPS = 300
MAX_TOKENS = 40
POLICY = dict(vocab_size=640, hidden_size=128, intermediate_size=384, layers=4, heads=4, kv_heads=2, positions=96)
# Names of tasks on the cards of tools that suit a domain, as the agents see it; the domains whose prompts have references.
CARD_TASKS = dict(
    math=("math", "expressions", "word problems", "mathematics", "short answers"), code=("code",), translation=("translation",),
    dialogue=("dialogue",),
)
WITH_REFERENCE = ("math", "translation")
# The hand-written rules, the bound of the experiment.
RULES = dict(math="numeric_match", code="code_tests", translation="exact_match", dialogue="small_talk")
# The general reward model, of 1.6 million parameters; each of the four for a single domain has 0.4 million.
GENERAL = dict(vocab_size=800, hidden_size=160, intermediate_size=448, layers=5, heads=4, kv_heads=2, positions=96)
GENERAL_SETTINGS = {f"general-rm-{i}": dict(steps=steps, rate=rate)
                    for i, (steps, rate) in enumerate((s, r) for s in (800, 1600) for r in (5e-4, 1e-3, 2e-3))}
SPECIALIST = dict(vocab_size=640, hidden_size=96, intermediate_size=256, layers=3, heads=4, kv_heads=2, positions=96)
# A card for a reward model on disk; `center` and `scale` are its mean and spread, as the agents set them for what they retrieve.
MODEL_CARD = """\
name: {name}
kind: model
role: quality
measures: Whether a reply is the better one of two, as the preference pairs of {data} have it.
tasks: [{tasks}]
needs_reference: false
range: [0, 1]
model: {{ path: {path}, sigmoid: true, center: {center:.3g}, scale: {scale:.3g} }}
origin: rlar train-rm
"""
# chrF where a prompt has a reference; elsewhere it abstains, and nothing is learned.
CHRF_CARD = """\
name: likeness
kind: builtin
builtin: chrf
role: quality
measures: chrF, where there is a reference.
tasks: [any]
needs_reference: false
range: [0, 1]
origin: rlar
"""


def policy_config(data, seed):
    """What all arms have in common: policy, prompts, algorithm, and number of steps."""
    file = lambda domain, part: str(data / domain / f"{part}.jsonl")
    domains = [dict(train=file(domain, "train"), demonstrations=file(domain, "sft")) for domain in DOMAINS]
    return dict(
        version=1, seed=seed, model=dict(scratch=POLICY), data=dict(mixture=domains, max_prompt_tokens=48),
        warmup=dict(steps=1500, batch=32, learning_rate=2e-3), sampling=dict(max_tokens=MAX_TOKENS),
        train=dict(steps=STEPS, prompts=16, group_size=8, minibatches=4),
        algorithm=dict(clip_high=0.28, kl=dict(estimator="k3", weight=0.01)),
        optimizer=dict(learning_rate=2e-4, warmup_steps=10, decay="linear"),
        run=dict(checkpoint_every=100, rollouts_every=5), eval=dict(samples=1),
    )


def sft_config(base, demonstrations, minutes):
    """Supervised steps on demonstrations, for as long as an arm samples, scores and learns."""
    optimizer = dict(base["optimizer"], decay="constant")
    train = dict(method="sft", steps=1_000_000, batch=32, max_minutes=minutes)
    return dict(without(base, "warmup"), data=dict(demonstrations=[str(path) for path in demonstrations]), optimizer=optimizer,
                train=train)


def reward_model_config(data, heldout, shape, steps, rate):
    return dict(
        version=1, seed=0, model=dict(scratch=shape), data=dict(preferences=str(data), heldout=str(heldout)),
        train=dict(method="reward_model", steps=steps, batch=32),
        optimizer=dict(learning_rate=rate, weight_decay=0.1, warmup_steps=20, decay="linear"),
        run=dict(checkpoint_every=400),
    )


# Libraries


def library(folder, curated=(), own=(), cards=()):
    """A library of curated tools, of tools in `configs/libraries/four-domains`, and of further cards by name."""
    for home in [*(CURATED / name for name in curated), *(OWN / name for name in own)]:
        shutil.copytree(home, folder / home.name, dirs_exist_ok=True)
    for name, card in dict(cards).items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "tool.yaml").write_text(card)
    return folder


def card_keys(tool):
    """Role, tasks and `needs_reference` of the card in a tool's folder. Cards of agents have lists over several lines."""
    text = (tool / "tool.yaml").read_text()
    tasks = re.search(r"^tasks:(.*(?:\n- .*)*)", text, re.MULTILINE)[1]
    tasks = [task.strip(" '\"") for task in re.split(r"[\[\],\n]|- ", tasks)]
    return dict(role=re.search(r"^role: (\w+)", text, re.MULTILINE)[1], tasks=tasks,
                needs_reference="needs_reference: true" in text, written="origin: written by" in text)


def tools(folder):
    """The folders of a library's admitted tools."""
    examined = sorted(path.parent for path in folder.glob("*/admission.json"))
    status = lambda home: json.loads((home / "admission.json").read_text())["status"]
    return [home for home in examined if status(home) in ("admitted", "provisional")]


def applicable(folder):
    """By domain, the admitted tools that can judge replies to its prompts: their card names the task and is no constraint, and
    they need no reference that is not there."""
    found = {}
    for domain in DOMAINS:
        suits = lambda card: (card["role"] != "constraint" and set(card["tasks"]) & set(CARD_TASKS[domain])
                              and (domain in WITH_REFERENCE or not card["needs_reference"]))
        found[domain] = [home.name for home in tools(folder) if suits(card_keys(home))]
    return found


def without_synthesis(folder, to):
    """A library without the verifiers that the language model wrote."""
    to.mkdir(exist_ok=True)
    for home in (path.parent for path in folder.glob("*/tool.yaml")):
        if not card_keys(home)["written"]:
            shutil.copytree(home, to / home.name, dirs_exist_ok=True)
    for extra in folder.glob("*.json"):
        shutil.copy(extra, to / extra.name)
    return to


# Rewards


def same_for_all(folder, tool):
    """One static reward for every prompt."""
    return dict(library=str(folder), unadmitted="allow", assign={domain: [dict(tool=tool)] for domain in DOMAINS})


def hand_written(folder):
    return dict(library=str(folder), assign={domain: [dict(tool=tool)] for domain, tool in RULES.items()})


def uniform(folder):
    """All applicable tools with equal weights, whose sum is 1. A domain without any is left to the builtin agent."""
    equal = lambda names: [dict(tool=tool, weight=1 / len(names)) for tool in names]
    assign = {domain: equal(names) for domain, names in applicable(folder).items() if names}
    return dict(library=str(folder), unadmitted="allow", assign=assign)


def builtin(folder):
    return dict(library=str(folder), unadmitted="allow", agent="builtin")


def chosen_by_agents(folder, llm):
    """What RLAR does: a language model chooses the tools, and their weights are learned."""
    return dict(library=str(folder), agent="llm", weights="learned", llm=llm)
