# gives a random score
# unrepeatable
import random
def f(text):
    return random.random()
