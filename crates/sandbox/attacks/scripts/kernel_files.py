# reads and writes the files of the kernel
# private root, Landlock
for path in (
    "/proc/sys/kernel/core_pattern", "/proc/self/environ", "/proc/self/cmdline", "/proc/mounts", "/proc/kallsyms",
    "/sys/kernel/security", "/sys/fs/cgroup/cgroup.procs", "/proc/sysrq-trigger", "/proc/self/mem", "/proc/self/fd/0",
):
    attempt(path, lambda: open(path, "rb").read(10) if os.path.isfile(path) else os.listdir(path))
attempt("write core_pattern", lambda: open("/proc/sys/kernel/core_pattern", "w"))
