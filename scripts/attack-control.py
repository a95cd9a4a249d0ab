#!/usr/bin/env python3
"""Runs the attacks of crates/sandbox without the sandbox, as a control: under resource limits only.

    scripts/attack-control.py [FOLDER …]        further folders of attack scripts

Each attack runs as a user that owns no files, on the machine's real files, in its own process and network namespaces, so that
it cannot harm the machine. Attacking functions run in one process with their tests. Needs root, `unshare`, `setpriv` and
/usr/bin/python3.
"""
import os, re, resource, shutil, subprocess, sys, tempfile
from pathlib import Path

if os.geteuid():
    sys.exit("the control needs root: without it no attack starts, which would look as if none succeeded")

USER = 54321
ATTACKS = Path(__file__).resolve().parent.parent / "crates/sandbox/attacks"
PRELUDE = (ATTACKS.parent / "src/python/attempt.py").read_text()
TESTS = "assert add(2, 3) == 5\nassert add(20, 7) == 27\n"
SUCCESS = re.compile(r"BITES|READ|KILLED|SOCKET|WROTE|MKNOD|OPENED|MUTATED|threads [1-9]|ptrace 0|Success|chmod ok|uid=|^-?1? ?0 ", re.M)


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


def report(name, succeeds, output):
    print("%-28s %-8s %s" % (name, "succeeds" if succeeds else "", " ".join(output.split())[:90]), flush=True)
    return succeeds


succeeded = total = 0
for file in sorted((ATTACKS / "scripts").glob("*.py")) + sorted(f for d in sys.argv[1:] for f in Path(d).glob("*.py")):
    code, output = run(PRELUDE + file.read_text())
    found = SUCCESS.search(output)
    succeeded += report(file.stem, bool(found), output[found.start():] if found else "exit code %s" % code)
    total += 1
print("%d of %d scripts succeed without the sandbox\n" % (succeeded, total))
passed = total = 0
for file in sorted((ATTACKS / "programs").glob("*.py")):
    # As most graders do: tests and candidate in one process, a marker at the end, the exit code decides.
    source = file.read_text() + "\n" + TESTS + "\nimport os\nos.write(1, b'passed')\n"
    code, output = run(source)
    passed += report(file.stem, code == 0, output[:60])
    total += 1
print("%d of %d functions pass in one process with their tests, judged by the exit code" % (passed, total))
for left in ("/tmp/pwn", "/dev/shm/pwn", "/dev/shm/x", "/var/tmp/x"):
    if os.path.exists(left) and os.stat(left).st_uid == USER:
        os.unlink(left)
