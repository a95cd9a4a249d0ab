"""Statistics of scores: AUC within prompts, Spearman's rank correlation, and bootstrap intervals.

A group is what one prompt gives: a pair of lists, the scores of its good replies and those of its bad replies.
"""

import math
import random


def win(good, bad):
    """1 where the good reply scores higher, a half where both score the same, else 0."""
    return 0.5 if good == bad else float(good > bad)


def auc(groups):
    """The probability that a good reply to a prompt scores above a bad reply to the same prompt, ties counted as a half;
    `None` without such a pair. This is the AUC of rlar's admission checks."""
    wins = [win(g, b) for good, bad in groups for g in good for b in bad]
    return sum(wins) / len(wins) if wins else None


def ranks(values):
    """Ranks from 1; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    first = 0
    while first < len(order):
        last = first
        while last + 1 < len(order) and values[order[last + 1]] == values[order[first]]:
            last += 1
        for i in order[first:last + 1]:
            result[i] = (first + last) / 2 + 1
        first = last + 1
    return result


def spearman(a, b):
    """Spearman's rank correlation of two lists of the same length; `None` where one of them is constant."""
    a, b = ranks(a), ranks(b)
    mean_a, mean_b = (sum(x) / len(x) if x else 0.0 for x in (a, b))
    product = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    squares = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return product / math.sqrt(squares) if squares > 0 else None


def interval(values, statistic, draws=1000, seed=0):
    """The 95 % bootstrap interval (percentiles) of a statistic of a list; `None` where it has no value."""
    source = random.Random(seed)
    drawn = (statistic(source.choices(values, k=len(values))) for _ in range(draws if values else 0))
    drawn = sorted(value for value in drawn if value is not None)
    if not drawn:
        return None
    place = lambda share: drawn[min(len(drawn) - 1, int(share * len(drawn)))]
    return place(0.025), place(0.975)
