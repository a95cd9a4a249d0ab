"""A reward function that fails for one reply in five, as services do."""

import zlib


def is_lost(reply):
    """Whether the function fails for a reply: for one in five, by the reply's text."""
    return zlib.crc32(reply.encode()) % 5 == 0


def short(completions, **kwargs):
    """1 for replies of at most 12 characters, less for longer ones."""
    return [None if is_lost(reply) else min(1.0, 12 / max(1, len(reply))) for reply in completions]
