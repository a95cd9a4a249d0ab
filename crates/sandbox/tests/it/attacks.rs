use std::path::Path;
use std::time::Duration;

use rlar_oracles::{needs_oracles, oracle};
use rlar_sandbox::attack::Attack;
use rlar_sandbox::{Run, Sandbox, SandboxLimits, Termination, Tier, run};

use crate::each_tier;

#[test]
fn every_shipped_attack_is_contained_by_what_is_meant_to() {
    let attacks = Attack::all();
    assert!(attacks.len() >= 70, "{}", attacks.len());
    each_tier(|sandbox| {
        let mut failed = Vec::new();
        for attack in &attacks {
            let report = attack.launch(sandbox).unwrap();
            if !report.is_contained(attack) {
                failed.push(format!("{} (to be contained by {:?}): {report:?}", attack.name, attack.expected));
            }
        }
        assert!(failed.is_empty(), "tier {}:\n{}", sandbox.tier(), failed.join("\n"));
    });
}

/// How a recorded attack ends (`T`ime, `M`emory or `O`utput limit, `C`rash, `E`xit, `*` any) and a part of its output.
type Ending = (char, &'static str);

/// The recorded attacks: name, the defences that contain it, how it ends on tier A and on tier B.
const RECORDED: [(&str, &str, Ending, Ending); 37] = [
    ("a01_inf_loop", "CPU limit", ('T', ""), ('T', "")),
    ("a02_sleep_forever", "deadline", ('T', ""), ('T', "")),
    ("a03_membomb_list", "address space limit", ('M', ""), ('M', "")),
    ("a04_membomb_single", "address space limit", ('M', ""), ('M', "")),
    ("a06_threadbomb", "seccomp", ('E', "threads 0"), ('E', "threads 0")),
    ("a07_output_flood", "output limit", ('O', ""), ('O', "")),
    ("a08_kill_all", "seccomp", ('E', "-1 [Errno 1]"), ('E', "-1 [Errno 1]")),
    (
        "a09_ptrace_parent",
        "seccomp",
        ('E', "ptrace -1 Operation not permitted"),
        ('E', "ptrace -1 Operation not permitted"),
    ),
    ("a11_proc_environ", "private root, Landlock", ('E', "[Errno 2]"), ('E', "[Errno 13]")),
    ("a12_read_secrets", "private root, Landlock", ('E', "2 2 2 2 2 2 2"), ('E', "13 13")),
    ("a14_socket_inet", "seccomp", ('E', "1 1 1 1 1"), ('E', "1 1 1 1 1")),
    ("a16_exec_shell", "seccomp", ('E', "Operation not permitted"), ('E', "Operation not permitted")),
    ("a17_write_outside", "read-only root, Landlock", ('E', "30 30 30"), ('E', "13 13 13 13 13 13 13 13")),
    ("a19_mknod_dev", "seccomp, private root, Landlock", ('E', "2 2 2 2 2 2"), ('E', "13")),
    ("a20_bigfile", "file size limit, Landlock", ('E', "[Errno 27]"), ('E', "[Errno 13]")),
    ("a22_inode_bomb", "scratch limit, Landlock", ('E', "[Errno 28]"), ('E', "0 [Errno 13]")),
    ("a23_fd_exhaust", "descriptor limit", ('E', "[Errno 24]"), ('E', "[Errno 24]")),
    (
        "a24_memfd",
        "seccomp",
        ('E', "[Errno 1] Operation not permitted 0"),
        ('E', "[Errno 1] Operation not permitted 0"),
    ),
    ("a26_shm", "seccomp", ('E', "-1 Operation not permitted"), ('E', "-1 Operation not permitted")),
    (
        "a27_unshare_ns",
        "seccomp",
        ('E', "-1 1 -1 1 -1 1 -1 1 -1 1 -1 1 -1 1"),
        ('E', "-1 1 -1 1 -1 1 -1 1 -1 1 -1 1 -1 1"),
    ),
    ("a29_ignore_sigxcpu", "hard CPU limit", ('T', ""), ('T', "")),
    ("a30_block_signals", "deadline", ('T', ""), ('T', "")),
    ("a31_recursion_segv", "separate process", ('*', ""), ('*', "")),
    ("a32_segv_null", "separate process", ('C', ""), ('C', "")),
    ("a34_exit_codes", "separate process", ('E', ""), ('E', "")),
    ("a35_forge_result_fd4", "no descriptor to write to", ('E', "Bad file descriptor"), ('E', "Bad file descriptor")),
    ("a37_close_all_fds", "separate process", ('E', ""), ('E', "")),
    ("a39_redos", "CPU limit", ('T', ""), ('T', "")),
    ("a40_bigint", "CPU limit", ('T', ""), ('T', "")),
    ("a41_hash_json_bomb", "CPU limit", ('T', ""), ('T', "")),
    ("a43_x32_abi", "seccomp", ('E', "-1 Operation not permitted"), ('E', "-1 Operation not permitted")),
    ("a45_clone3", "seccomp", ('E', "-1 Operation not permitted -1"), ('E', "-1 Operation not permitted -1")),
    ("a48_chmod000_dir", "seccomp, Landlock", ('E', "[Errno 1]"), ('E', "[Errno 13]")),
    ("a50_sigstop_self", "seccomp", ('E', "[Errno 1]"), ('E', "[Errno 1]")),
    ("a51_import_bomb_rlimit_stack", "address space limit", ('E', "134217728"), ('E', "134217728")),
    ("a53_write_writable_tmp", "private scratch folder, Landlock", ('E', "2 /dev/shm/pwn"), ('E', "13 /tmp/pwn")),
    ("a54_truncate_rename", "seccomp, private root, Landlock", ('E', "1 2 2 1"), ('E', "1 13 13 1")),
];

#[needs_oracles]
#[test]
fn the_recorded_attacks_are_contained_by_what_is_meant_to() {
    each_tier(|sandbox| recorded_attacks_are_contained(sandbox, &oracle!("oracles/attacks")));
}

/// Runs the recorded attacks of a folder in this sandbox.
pub fn recorded_attacks_are_contained(sandbox: &Sandbox, folder: &Path) {
    let limits = SandboxLimits {
        wall: Duration::from_secs(2),
        cpu: Duration::from_secs(1),
        memory: 256 << 20,
        ..SandboxLimits::default()
    };
    let outside = Path::new("/tmp/victim");
    std::fs::create_dir_all(outside).unwrap();
    std::fs::write(outside.join("f"), "untouched").unwrap();
    for (name, by, on_a, on_b) in RECORDED {
        let source = std::fs::read_to_string(folder.join(format!("{name}.py"))).unwrap();
        let (wanted, says) = if sandbox.tier() == Tier::A { on_a } else { on_b };
        let Run { termination, stdout, stderr } = run(sandbox, &source, b"", &limits).unwrap().verdict;
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        let ended = match termination {
            Termination::Exited(_) | Termination::NotAllowed(_) => 'E',
            Termination::TimeLimit(_) => 'T',
            Termination::MemoryLimit => 'M',
            Termination::OutputLimit => 'O',
            Termination::Crashed(_) => 'C',
        };
        let context = format!("{name} on tier {} ({by}): {termination:?}\n{said}", sandbox.tier());
        assert!((wanted == '*' || ended == wanted) && said.contains(says), "{context}");
        for bite in ["READ", "KILLED", "SOCKET", "MKNOD", "OPENED", "MUTATED"] {
            assert!(!said.contains(bite), "{context}");
        }
        let wrote = said.lines().filter(|l| l.contains("WROTE"));
        assert!(wrote.into_iter().all(|l| l.contains("/tmp/pwn") && sandbox.tier() == Tier::A), "{context}");
        let next = run(sandbox, "import os\nprint(os.getpid() > 0)", b"", &limits).unwrap().verdict;
        assert_eq!(next.stdout, b"True\n", "after {context}");
    }
    assert_eq!(std::fs::read_to_string(outside.join("f")).unwrap(), "untouched");
    assert!(!Path::new("/tmp/pwn").exists());
    let files = std::fs::read_dir(folder)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "py"));
    assert_eq!(files.count(), RECORDED.len(), "an attack is not in the table");
}
