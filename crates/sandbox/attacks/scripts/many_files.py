# makes more files than there is room for
# scratch limit, Landlock
def many():
    for i in range(100000):
        os.close(os.open("n%d" % i, os.O_CREAT | os.O_WRONLY))
attempt("files", many)
