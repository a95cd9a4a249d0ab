import re


def compute_last_number(prompt: str, candidate_response: str, reference_response: str) -> float:
    """1.0 when the last numbers of both texts are equal, else 0.0. What it prints is the reason of the score."""

    def last(text):
        # A minus directly after a digit is an operator: `7-3` ends in 3.
        found = re.findall(r"(?<!\d)-?\d+(?:\.\d+)?", text.replace(",", ""))
        return found[-1] if found else None

    candidate, reference = last(candidate_response), last(reference_response)
    said = "the reply has no number" if candidate is None else f"the last number is {candidate}"
    print(f"{said}, the reference has none" if reference is None else f"{said}, the reference's is {reference}")
    if candidate is None or reference is None:
        return 0.0
    return 1.0 if abs(float(candidate) - float(reference)) < 1e-6 else 0.0
