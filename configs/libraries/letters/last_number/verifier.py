import re


def compute_last_number(prompt: str, candidate_response: str, reference_response: str) -> float:
    """1.0 when the last numbers of both texts are equal, else 0.0."""

    def last(text):
        # A minus directly after a digit is an operator: `7-3` ends in 3.
        found = re.findall(r"(?<!\d)-?\d+(?:\.\d+)?", text.replace(",", ""))
        return float(found[-1]) if found else None

    candidate, reference = last(candidate_response), last(reference_response)
    if candidate is None or reference is None:
        return 0.0
    return 1.0 if abs(candidate - reference) < 1e-6 else 0.0
