"""The statistics of the experiment: pure functions of truth and scores."""

import math
import random
import statistics

RESAMPLES = 2000
# Student's t for 95 %, by degrees of freedom; for more of them the last is a little too wide.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def over_domains(truth):
    """The mean over domains of the mean truth of their prompts. `truth` maps a domain to its prompts' shares of right replies."""
    return mean(mean(prompts) for prompts in truth.values())


def difference(arm, other):
    """By domain, the differences of two arms on the same prompts, each the mean over the seeds. Both map a seed to a domain to
    the prompts' shares of right replies, in the same order."""
    domains = next(iter(arm.values()))
    return {domain: [mean(arm[seed][domain][i] - other[seed][domain][i] for seed in arm) for i in range(len(prompts))]
            for domain, prompts in domains.items()}


def bootstrap(differences, seed=0):
    """The 95 % interval of the mean over domains: prompts are drawn with replacement within each domain."""
    draw = random.Random(seed)
    again = lambda prompts: mean(draw.choices(prompts, k=len(prompts)))
    means = sorted(mean(map(again, differences.values())) for _ in range(RESAMPLES))
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]


def over_seeds(values):
    """The 95 % interval of a mean of paired differences, one for each seed (Student's t); `None` for a single seed."""
    if len(values) < 2:
        return None
    half = STUDENT[min(len(values) - 1, max(STUDENT))] * statistics.stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def group_auc(groups):
    """How well scores rank right replies above wrong ones to the same prompt: the mean, over the groups with both, of the share
    of pairs that are ranked right, a tie counting as half. A group is a list of pairs of score and truth. NaN without such a
    group."""
    shares = []
    for group in groups:
        right, wrong = ([score for score, is_right in group if is_right == value] for value in (True, False))
        wins = [(r > w) + (r == w) / 2 for r in right for w in wrong]
        if wins:
            shares.append(mean(wins))
    return mean(shares)
