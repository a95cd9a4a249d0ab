# searches with a pattern that never ends
# deadline
import re
re.match(r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 60)
