# answers with a dict whose keys collide
# wrong answer, time limit, output limit
def add(a, b):
    return {i * (2**61 - 1): 0 for i in range(2000)}
