# returns an object of its own subclass of float
# not a number
class Score(float):
    pass
def f(text):
    return Score(1)
