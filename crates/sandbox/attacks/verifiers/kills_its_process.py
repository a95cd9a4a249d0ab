# ends its process
# crashed
import os
def f(text):
    os._exit(0)
