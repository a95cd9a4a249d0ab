"""Fails for one reply in five, by the reply's text, as services do; gives 1 for replies of at most 12 characters, less for others."""

import zlib


def is_lost(reply):
    return zlib.crc32(reply.encode()) % 5 == 0


def compute_sometimes_failing(prompt, candidate_response, reference_response):
    if is_lost(candidate_response):
        raise RuntimeError("this reply is lost")
    return min(1.0, 12 / max(1, len(candidate_response)))
