# changes the standard library for later runs
# read-only, Landlock
for mode in ("w", "a", "r+"):
    attempt("open " + mode, lambda: open(os.__file__, mode))
