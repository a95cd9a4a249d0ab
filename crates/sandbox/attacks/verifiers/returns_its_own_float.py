# returns a number of its own making
# not a number
class Score(float):
    pass
def f(text):
    return Score(1)
