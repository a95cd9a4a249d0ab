# opens devices
# private root, Landlock
for name in ("sda", "vda", "mem", "kmsg", "kvm", "fuse", "net/tun", "tty", "ptmx", "full", "shm/x", "random"):
    attempt(name, lambda: os.open("/dev/" + name, os.O_RDWR))
