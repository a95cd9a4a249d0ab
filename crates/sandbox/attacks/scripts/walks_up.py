# leaves its folder by going up
# private root, Landlock
for path in ("../../../etc/passwd", "/../../etc/shadow", "/tmp/../root/.bashrc", "//etc//hostname", "/etc/ld.so.cache/../passwd"):
    attempt(path, lambda: open(path).read())
for path in ("/root", "/home", "/etc", "/var", "/"):
    attempt(path, lambda: [n for n in os.listdir(path) if n not in ("dev", "etc", "lib", "lib64", "root", "tmp", "usr")][0])
