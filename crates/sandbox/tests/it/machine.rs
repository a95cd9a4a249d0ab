//! The sandbox on different machines: other users, other interpreters, containers; its processes and resources.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rlar_oracles::{needs_oracles, oracle};
use rlar_sandbox::attack::Attack;
use rlar_sandbox::{Program, Sandbox, SandboxLimits, Tests, Tier, Verdict, Verifier, run};

use crate::attacks::recorded_attacks_are_contained;
use crate::{each_tier, sandbox};

const DOUBLE: &str = "def f(x):\n    return 2.0 * float(x)\n";

/// The PIDs of this process's children.
fn children() -> Vec<i32> {
    let parent = std::process::id().to_string();
    let stat = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|p| stat(*p).rsplit(") ").next().is_some_and(|s| s.split(' ').nth(1) == Some(&parent))).collect()
}

/// Runs a test of this file again in a separate process, which `prepare` sets up before `exec`. True in that process,
/// which is to do the test; false in the first one.
fn in_a_process_of_its_own(test: &str, prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) -> bool {
    if std::env::var("RLAR_TEST_INSIDE").as_deref() == Ok(test) {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("machine::{test}"), "--nocapture"]).env("RLAR_TEST_INSIDE", test);
    // SAFETY: `prepare` only makes system calls and applies a filter that exists already.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(prepare)
    };
    let out = match command.output() {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            println!("skipped: the test's own program cannot be run so: {e}");
            return false;
        }
        out => out.unwrap(),
    };
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// A filter that refuses the namespaces and mounts of tier A as Docker's default profile does.
fn docker_like() -> seccompiler::BpfProgram {
    use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
    let namespaces = 0x7e02_0000u64;
    let any = |bit: u64| {
        let flag = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(bit), bit).unwrap();
        SeccompRule::new(vec![flag]).unwrap()
    };
    let bits = (0..64).map(|i| 1u64 << i).filter(|b| namespaces & b != 0);
    let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
        [libc::SYS_unshare, libc::SYS_mount, libc::SYS_setns, libc::SYS_pivot_root, libc::SYS_mount_setattr]
            .map(|s| (s, Vec::new()))
            .into();
    rules.insert(libc::SYS_clone, bits.map(any).collect());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32), arch);
    filter.unwrap().try_into().unwrap()
}

#[test]
fn where_namespaces_are_forbidden_it_is_tier_b_and_holds() {
    let filter = docker_like();
    let prepare = move || seccompiler::apply_filter(&filter).map_err(std::io::Error::other);
    if !in_a_process_of_its_own("where_namespaces_are_forbidden_it_is_tier_b_and_holds", prepare) {
        return;
    }
    let sandbox = Sandbox::open().unwrap();
    assert_eq!(sandbox.tier(), Tier::B);
    assert!(sandbox.describe().contains("not tier A"), "{}", sandbox.describe());
    for attack in Attack::all() {
        let report = attack.launch(&sandbox).unwrap();
        assert!(report.is_contained(&attack), "{}: {report:?}", attack.name);
    }
}

#[needs_oracles]
#[test]
fn recorded_attacks_are_contained_where_namespaces_are_forbidden() {
    let filter = docker_like();
    let prepare = move || seccompiler::apply_filter(&filter).map_err(std::io::Error::other);
    if in_a_process_of_its_own("recorded_attacks_are_contained_where_namespaces_are_forbidden", prepare) {
        recorded_attacks_are_contained(&Sandbox::open().unwrap(), &oracle!("oracles/attacks"));
    }
}

#[test]
fn an_ordinary_user_has_tier_a_and_the_same_confinement() {
    let drop = || {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let (group, user) = (rustix::process::Gid::from_raw(12345), rustix::process::Uid::from_raw(12345));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(group, group, group)?;
        Ok(rustix::thread::set_thread_res_uid(user, user, user)?)
    };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the other tests run as an ordinary user already");
        return;
    }
    // The interpreter must be one that this user may run.
    if !std::path::Path::new("/usr/bin/python3").exists() {
        println!("skipped: /usr/bin/python3 is not there");
        return;
    }
    if !in_a_process_of_its_own("an_ordinary_user_has_tier_a_and_the_same_confinement", drop) {
        return;
    }
    let sandbox = Sandbox::open().unwrap();
    assert_eq!(sandbox.tier(), Tier::A, "{}", sandbox.describe());
    for attack in Attack::all() {
        let report = attack.launch(&sandbox).unwrap();
        assert!(report.is_contained(&attack), "{}: {report:?}", attack.name);
    }
}

/// Interpreters of this machine, by version: what pyenv and the system have.
fn interpreters() -> Vec<std::path::PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(std::path::PathBuf::from);
    let root = root.or_else(|| Some(std::path::Path::new(&std::env::var_os("HOME")?).join(".pyenv")));
    let versions = root.and_then(|r| std::fs::read_dir(r.join("versions")).ok()).into_iter().flatten();
    let found = versions.map(|v| v.unwrap().path().join("bin/python3"));
    found.chain([std::path::PathBuf::from("/usr/bin/python3")]).filter(|p| p.exists()).collect()
}

#[test]
fn every_python_from_3_9_on_is_confined_alike_and_older_ones_are_refused() {
    const TEST: &str = "every_python_from_3_9_on_is_confined_alike_and_older_ones_are_refused";
    if std::env::var("RLAR_TEST_INSIDE").as_deref() != Ok(TEST) {
        let found = interpreters();
        println!("{found:?}");
        for python in found {
            let exe = std::env::current_exe().unwrap();
            let mut command = Command::new(exe);
            command.args(["--exact", &format!("machine::{TEST}"), "--nocapture"]);
            let out = command.env("RLAR_TEST_INSIDE", TEST).env("RLAR_PYTHON", &python).output().unwrap();
            let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            assert!(out.status.success(), "{}: {said}", python.display());
        }
        return;
    }
    let python = std::env::var("RLAR_PYTHON").unwrap();
    let ask = "import sys; print(sys.version_info >= (3, 9))";
    let out = Command::new(&python).args(["-c", ask]).output().unwrap();
    if out.stdout != b"True\n" {
        let refusal = Sandbox::open().unwrap_err().to_string();
        assert!(refusal.contains("3.9 or newer is needed") || refusal.contains("did not answer"), "{refusal}");
        return;
    }
    let source = "from collections import deque\ndef f(x):\n    return deque([x, (x, {x: 1.5})])\n";
    let tests = vec!["assert f(2) == deque([2, (2, {2: 1.5})])".to_owned(), "assert f(2) == 3".to_owned()];
    let tests = Tests::Functions { setup: "from collections import deque".into(), functions: vec!["f".into()], tests };
    for tier in [Tier::A, Tier::B] {
        let sandbox = Sandbox::open_tier(tier).unwrap();
        let judged =
            Program { source: source.into(), tests: tests.clone() }.judge(&sandbox, &SandboxLimits::default()).unwrap();
        assert_eq!(judged.pass_rate(), Some(0.5), "{judged:?}");
        // All of them take minutes: `just thorough`.
        let every = if std::env::var_os("RLAR_THOROUGH").is_some() { 1 } else { 9 };
        for attack in Attack::all().into_iter().step_by(every) {
            let report = attack.launch(&sandbox).unwrap();
            assert!(report.is_contained(&attack), "{python}, tier {tier}: {}: {report:?}", attack.name);
        }
    }
}

#[test]
fn a_dead_fork_server_is_replaced_and_no_call_is_lost() {
    if !in_a_process_of_its_own("a_dead_fork_server_is_replaced_and_no_call_is_lost", || Ok(())) {
        return;
    }
    let sandbox = Sandbox::open_tier(Tier::A).unwrap();
    let verifier = Verifier::start(&sandbox, DOUBLE, "f", SandboxLimits::default()).unwrap();
    let calls: Vec<Vec<String>> = (0..200).map(|i| vec![i.to_string()]).collect();
    let rounds = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..6 {
                for pid in children() {
                    let command = std::fs::read_to_string(format!("/proc/{pid}/comm"));
                    if command.is_ok_and(|c| c.starts_with("python")) {
                        let pid = rustix::process::Pid::from_raw(pid).unwrap();
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                    }
                }
                // The next ones die when these have been replaced, wherever the calls are by then.
                let known = rounds.load(Ordering::SeqCst);
                while rounds.load(Ordering::SeqCst) < known + 3 {
                    assert!(began.elapsed() < Duration::from_mins(2), "the calls do not go on");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            for (i, m) in verifier.score(&calls).unwrap().into_iter().enumerate() {
                assert_eq!(m.verdict, Verdict::Score(2.0 * i as f64));
            }
            rounds.fetch_add(1, Ordering::SeqCst);
        }
    });
}

fn resources() -> (usize, usize, u64) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    (descriptors, children().len(), line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10)
}

/// Takes 5,000 verdicts, or as many as `RLAR_SOAK` says.
#[test]
fn many_verdicts_leave_nothing_behind() {
    if !in_a_process_of_its_own("many_verdicts_leave_nothing_behind", || Ok(())) {
        return;
    }
    let many: usize = std::env::var("RLAR_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000);
    let sandbox = Sandbox::open_tier(Tier::A).unwrap();
    sandbox.warm().unwrap();
    let limits = SandboxLimits { wall: Duration::from_millis(500), ..SandboxLimits::default() };
    let verifier = Verifier::start(&sandbox, DOUBLE, "f", limits).unwrap();
    let strict = Verifier::start(&sandbox, DOUBLE, "f", limits).unwrap().strict();
    let tests = vec!["assert f(2) == 4.0".to_owned()];
    let tests = Tests::Functions { setup: String::new(), functions: Vec::new(), tests };
    let programs = vec![Program { source: DOUBLE.into(), tests }; 20];
    let round = |size: usize| {
        let calls: Vec<Vec<String>> = (0..size).map(|i| vec![i.to_string()]).collect();
        assert!(verifier.score(&calls).unwrap().iter().all(|m| matches!(m.verdict, Verdict::Score(_))));
        assert!(strict.score(&calls[..size / 5]).unwrap().iter().all(|m| matches!(m.verdict, Verdict::Score(_))));
        assert!(
            Program::judge_all(&programs, &sandbox, &limits).unwrap().iter().all(|j| j.as_ref().unwrap().all_passed())
        );
        run(&sandbox, "open('left', 'w')\nimport os; os._exit(1)", b"", &limits).unwrap();
    };
    round(500);
    let (descriptors, processes, memory) = resources();
    let began = Instant::now();
    let mut done = 0;
    while done < many {
        round(500);
        done += 500 + 100 + 20 + 1;
    }
    let (now, left, grown) = resources();
    println!(
        "{done} verdicts in {:?}: {descriptors} → {now} descriptors, {processes} → {left} processes, {memory} → {grown} MB",
        began.elapsed()
    );
    // A fork server whose scratch was dirty lives on while a verifier's process or a tester of its slot does.
    assert!(left <= 3 * sandbox.workers());
    assert!(now <= descriptors + 2 + 2 * left.saturating_sub(processes) && grown <= memory + 16);
}

#[test]
fn the_pool_is_small() {
    if !in_a_process_of_its_own("the_pool_is_small", || Ok(())) {
        return;
    }
    each_tier(|_| ());
    let sandbox = sandbox(Tier::A);
    sandbox.warm().unwrap();
    let mut measured = 0;
    for pid in children() {
        let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let Some(pss) = smaps.lines().find_map(|l| l.strip_prefix("Pss:")) else { continue };
        let megabytes = pss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10;
        println!("fork server {pid}: {megabytes} MB");
        assert!(megabytes <= 60, "{megabytes} MB");
        measured += 1;
    }
    if rustix::process::geteuid().is_root() {
        assert!(measured >= sandbox.workers());
    } else if measured == 0 {
        println!("skipped: only root may ask what fork servers use");
    }
}
