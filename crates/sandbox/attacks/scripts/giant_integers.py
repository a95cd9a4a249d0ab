# computes with integers of millions of digits
# deadline, memory limit
if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(0)
x = 7 ** (10**7)
str(x)
