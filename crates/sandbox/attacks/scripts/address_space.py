# reserves more addresses than it may
# memory limit, its own limits
import mmap
attempt("mmap", lambda: mmap.mmap(-1, 1 << 40))
