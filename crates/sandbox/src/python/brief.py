# Shared by the processes of the jail and by those of trusted functions.
def brief(error):
    "Type and text of an exception in one line. Its class may be untrusted, so its `__str__` may fail."
    try:
        return (type(error).__name__ + ": " + str(error))[:300].encode("utf-8", "replace").decode()
    except BaseException:
        return "an exception that cannot be shown"
