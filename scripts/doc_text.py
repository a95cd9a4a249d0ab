"""Token sequences of the project's documentation, as a text on which models are compared."""

from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
CHARACTERS = 12  # of the text are read for each token that is wanted


def token_sequences(tokenizer, count, length):
    """The first `count` tokens of all pages in the order of their paths, in sequences of `length` tokens."""
    text = "\n\n".join(path.read_text() for path in sorted(DOCS.rglob("*.md")))
    ids = tokenizer(text[:count * CHARACTERS], add_special_tokens=False)["input_ids"][:count]
    return [ids[start:start + length] for start in range(0, len(ids), length)]
