# reserves more addresses than it may
# memory limit, resource limits
import mmap
attempt("mmap", lambda: mmap.mmap(-1, 1 << 40))
