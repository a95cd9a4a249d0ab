# Values as tagged plain data, the only form in which tester and candidate exchange them. Both sides use this code; neither
# trusts the bytes of the other.
DEEPEST, LONGEST_ITERATOR = 100, 100_000
# The builtin types by name, which are sent as names.
TYPES = {n: t for n, t in vars(builtins).items() if isinstance(t, type) and t.__module__ == "builtins" and n[0] != "_"}


# Types that can be changed in place; a changed argument is sent back.
MUTABLE = (list, dict, set, bytearray, collections.deque, collections.Counter, collections.OrderedDict)


class Unsupported(Exception):
    "A value that cannot be sent as plain data."


def encode(x, keep, depth=0):
    """A value as plain data. `keep(x)` returns the tagged form of an object that is not plain, or raises `Unsupported`."""
    if x is None or x is True or x is False:
        return x
    if depth > DEEPEST:
        raise Unsupported("data nested deeper than %d" % DEEPEST)
    kind = type(x)
    if kind is str:
        return x
    if kind is int:
        return x if -(2**53) < x < 2**53 else {"int": hex(x)}
    if kind is float:
        return {"float": x.hex()}
    if hasattr(kind, "_refuse"):
        return keep(x)
    down = lambda v: encode(v, keep, depth + 1)
    if kind is list:
        return [down(v) for v in x]
    if kind is tuple:
        return {"tuple": [down(v) for v in x]}
    if kind is dict:
        return {"dict": [[down(k), down(v)] for k, v in x.items()]}
    if kind is set:
        return {"set": [down(v) for v in x]}
    if kind is frozenset:
        return {"frozenset": [down(v) for v in x]}
    if kind is bytes:
        return {"bytes": x.hex()}
    if kind is bytearray:
        return {"bytearray": x.hex()}
    if kind is complex:
        return {"complex": [x.real.hex(), x.imag.hex()]}
    if kind is range:
        return {"range": [down(x.start), down(x.stop), down(x.step)]}
    if kind is type and TYPES.get(x.__name__) is x:
        return {"type": x.__name__}
    if kind is collections.Counter:
        return {"Counter": [[down(k), down(v)] for k, v in x.items()]}
    if kind is collections.OrderedDict:
        return {"OrderedDict": [[down(k), down(v)] for k, v in x.items()]}
    if kind is collections.defaultdict:
        return {"dict": [[down(k), down(v)] for k, v in x.items()]}
    if kind is collections.deque:
        return {"deque": [down(v) for v in x]}
    if kind is fractions.Fraction:
        return {"Fraction": [hex(x.numerator), hex(x.denominator)]}
    if kind is decimal.Decimal:
        return {"Decimal": str(x)}
    # An instance of a subclass is sent as the plain value in it, without the comparisons that the subclass defines.
    if kind.__module__ == "numpy" and getattr(x, "ndim", None) == 0:
        return encode(x.item(), keep, depth)
    for base, plain in ((int, int), (float, float), (str, str), (tuple, tuple), (list, list), (dict, dict), (set, set)):
        if isinstance(x, base):
            return encode(plain(x), keep, depth)
    if isinstance(x, (type({}.keys()), type({}.items()))):
        return {"set": [down(v) for v in x]}
    return keep(x)


def iterator(x, keep):
    "An iterator as the list of the items that it yields."
    items = []
    for v in x:
        items.append(encode(v, keep, 1))
        if len(items) > LONGEST_ITERATOR:
            raise Unsupported("an iterator of more than %d items" % LONGEST_ITERATOR)
    return {"iterator": items}


def decode(x, remote, depth=0):
    """The value of plain data. `remote(tag, v)` returns the stand-in for an object that stayed in the other process."""
    if depth > 2 * DEEPEST:
        raise ValueError("nested too deep")
    down = lambda v: decode(v, remote, depth + 1)
    if isinstance(x, list):
        return [down(v) for v in x]
    if not isinstance(x, dict):
        if isinstance(x, float):
            raise ValueError("an untagged float")
        return x
    ((tag, v),) = x.items()
    if tag == "int":
        return int(v, 16)
    if tag == "float":
        return float.fromhex(v)
    if tag == "complex":
        return complex(float.fromhex(v[0]), float.fromhex(v[1]))
    if tag == "bytes":
        return bytes.fromhex(v)
    if tag == "bytearray":
        return bytearray.fromhex(v)
    if tag == "Fraction":
        return fractions.Fraction(int(v[0], 16), int(v[1], 16))
    if tag == "Decimal":
        return decimal.Decimal(v)
    if tag == "type":
        return TYPES[v]
    if tag == "range":
        return range(*[down(i) for i in v])
    if tag in ("tuple", "set", "frozenset", "deque", "iterator"):
        make = {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": collections.deque, "iterator": iter}[tag]
        return make([down(i) for i in v])
    if tag in ("dict", "Counter", "OrderedDict"):
        make = {"dict": dict, "Counter": collections.Counter, "OrderedDict": collections.OrderedDict}[tag]
        return make({down(k): down(w) for k, w in v})
    return remote(tag, v)
