# calls the parts of the kernel that had many vulnerabilities
# seccomp
for name, number in dict(
    bpf=321, perf_event_open=298, userfaultfd=323, io_uring_setup=425, add_key=248, keyctl=250, personality=135, ptrace=101,
    kexec_load=246, init_module=175, finit_module=313, quotactl=179, fanotify_init=300, inotify_init=253, epoll_create=213,
    memfd_create=319, memfd_secret=447, shmget=29, semget=64, msgget=68, mq_open=240, splice=275, tee=276, vmsplice=278,
    landlock_create_ruleset=444, mount=165, umount=166, pivot_root=155, chroot=161, unshare=272, setns=308, open_tree=428,
    fsopen=430, swapon=167, reboot=169, acct=163, syslog=103, iopl=172, modify_ldt=154, process_madvise=440,
    move_pages=279, mbind=237, kcmp=312, lookup_dcookie=212, timer_create=222, eventfd=284, signalfd=282, timerfd=283,
).items():
    attempt(name, lambda: syscall(number, 0, 0, 0, 0, 0))
