# fills its scratch folder
# scratch limit, Landlock
def fill():
    for i in range(64):
        with open("f%d" % i, "wb") as f:
            f.write(bytes(4 << 20))
attempt("bytes", fill)
