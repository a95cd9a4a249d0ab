# raises an exception whose text never ends
# time limit, raised
class Trap(Exception):
    def __str__(self):
        while True:
            pass
def f(text):
    raise Trap
