# changes the standard library for those who come after
# read-only, Landlock
for mode in ("w", "a", "r+"):
    attempt("open " + mode, lambda: open(os.__file__, mode))
