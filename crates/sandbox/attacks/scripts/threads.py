# starts threads
# seccomp
import threading
attempt("thread", lambda: threading.Thread(target=print).start())
import multiprocessing
attempt("process", lambda: multiprocessing.Process(target=print).start())
