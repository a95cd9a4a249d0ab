#!/usr/bin/env python3
"""The control of the attacks: what they achieve without the walls, under resource limits only.

Each runs as a user that owns nothing, in process and network namespaces of its own so that this machine stays whole, on
the machine's real files. Functions run in one process with their tests. Needs root, `unshare`, `setpriv` and
/usr/bin/python3. Arguments: further folders of attack scripts.
"""
import os, re, resource, shutil, subprocess, sys, tempfile
from pathlib import Path

USER = 54321
ATTACKS = Path(__file__).resolve().parent.parent / "crates/sandbox/attacks"
PRELUDE = (ATTACKS.parent / "src/python/attempt.py").read_text()
TESTS = "assert add(2, 3) == 5\nassert add(20, 7) == 27\n"
BITES = re.compile(r"BITES|READ|KILLED|SOCKET|WROTE|MKNOD|OPENED|MUTATED|threads [1-9]|ptrace 0|Success|chmod ok|uid=|^-?1? ?0 ", re.M)


def limits():
    for what, value in (("AS", 512 << 20), ("CPU", 1), ("FSIZE", 16 << 20), ("NOFILE", 64), ("CORE", 0), ("NPROC", 200)):
        resource.setrlimit(getattr(resource, "RLIMIT_" + what), (value, value))


def run(source):
    home = tempfile.mkdtemp(prefix="rlar-control-")
    os.chmod(home, 0o777)
    command = ["setpriv", "--reuid=%d" % USER, "--regid=%d" % USER, "--clear-groups", "unshare", "--user", "--map-current-user", "--pid",
               "--fork", "--kill-child", "--net", "--ipc", "--mount", "--mount-proc", "/usr/bin/python3", "-I", "-S", "-B", "-c", source]
    try:
        out = subprocess.run(command, cwd=home, capture_output=True, timeout=5, preexec_fn=limits, env={"LC_ALL": "C.UTF-8"})
        return out.returncode, out.stdout[:20000].decode(errors="replace") + out.stderr[-300:].decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        return None, (late.stdout or b"")[:20000].decode(errors="replace")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def report(name, bites, how):
    print("%-28s %-6s %s" % (name, "bites" if bites else "", " ".join(how.split())[:90]), flush=True)
    return bites


bit = total = 0
for file in sorted((ATTACKS / "scripts").glob("*.py")) + sorted(f for d in sys.argv[1:] for f in Path(d).glob("*.py")):
    code, said = run(PRELUDE + file.read_text())
    found = BITES.search(said)
    bit += report(file.stem, bool(found), said[found.start():] if found else "exit %s" % code)
    total += 1
print("%d of %d scripts bite without the walls\n" % (bit, total))
won = total = 0
for file in sorted((ATTACKS / "programs").glob("*.py")):
    # As most judges do it: tests and candidate in one process, a pass marker, an exit code.
    source = file.read_text() + "\n" + TESTS + "\nimport os\nos.write(1, b'passed')\n"
    code, said = run(source)
    won += report(file.stem, code == 0, said[:60])
    total += 1
print("%d of %d functions win in one process with their tests, judged by the exit code" % (won, total))
for left in ("/tmp/pwn", "/dev/shm/pwn", "/dev/shm/x", "/var/tmp/x"):
    if os.path.exists(left) and os.stat(left).st_uid == USER:
        os.unlink(left)
