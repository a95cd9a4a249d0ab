# loops in its exit handlers
# deadline
import atexit
class Clings:
    def __del__(self):
        while True:
            pass
def cling():
    while True:
        pass
atexit.register(cling)
keep = Clings()
