"""Runs a process and says how long it took, how much memory it had, and how busy the machine was with other things."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Settings with which glibc keeps freed tensors instead of returning them to the system, as `rlar` has mimalloc do.
KEEPING = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(1 << 33))


def peak_memory(pid):
    """Peak resident memory of a running process so far, in MB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


def busy():
    """Seconds that all cores have worked since they started, for any process."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def ended(process, records):
    """Waits for a process. Returns its status and usage, and for each line of the file `records` the time at which it appeared
    and the peak memory by then."""
    if not records:
        _, status, usage = os.wait4(process.pid, 0)
        return status, usage, []
    size, came, pid = 0, [], 0
    while not pid:
        if records.exists() and records.stat().st_size > size:
            text = records.read_bytes()
            size = len(text)
            came += [(time.perf_counter(), peak_memory(process.pid))] * (text.count(b"\n") - len(came))
        time.sleep(0.001)
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    return status, usage, came


def watched(command, environment, records=None):
    """Runs a process. Returns its output; the `seconds` that it took, its `peak` memory in MB and the share of the cores that
    `others` took meanwhile; and for each line of the file `records` the time at which it appeared and the peak memory by then."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start, before = time.perf_counter(), busy()
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=err, env=environment)
        try:
            status, usage, came = ended(process, records)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.kill()
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: {(err.read() + out.read())[-3000:]}")
        others = max(0, (busy() - before - usage.ru_utime - usage.ru_stime) / seconds / os.cpu_count())
        return out.read(), dict(seconds=seconds, peak=usage.ru_maxrss // 1024, others=others), came
