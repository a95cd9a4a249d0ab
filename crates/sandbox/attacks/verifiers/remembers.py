# returns a larger score with every call
# unrepeatable
calls = []
def f(text):
    calls.append(text)
    return float(len(calls))
