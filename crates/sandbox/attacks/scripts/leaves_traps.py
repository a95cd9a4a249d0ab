# leaves files and folders that cannot be removed
# fresh scratch folder, Landlock, seccomp
def leave():
    os.makedirs("a/b/c")
    os.chmod("a", 0)
attempt("chmod", leave)
try:
    open("left", "w").write("x")
    print("refused FRESH")
except OSError as e:
    print("refused", errno.errorcode[e.errno])
