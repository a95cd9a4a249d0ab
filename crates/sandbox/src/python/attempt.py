import ctypes, errno, os, sys

LIBC = ctypes.CDLL(None, use_errno=True)


def syscall(number, *arguments):
    result = LIBC.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def attempt(what, action):
    try:
        result = action()
    except OSError as error:
        known = errno.errorcode.get(error.errno, type(error).__name__)
        print("refused", known, what, flush=True)
    except BaseException as error:
        print("refused", type(error).__name__, what, flush=True)
    else:
        print("BITES", what, repr(result)[:60], flush=True)


