# unpacks a gigabyte from a kilobyte
# memory limit, deadline
import zlib
packed = zlib.compress(b"\0" * 10**6, 9)
data = [zlib.decompress(packed) for _ in range(1000)]
