//! Trusted reward functions, which run unconfined: they may do everything, and can neither stop nor outlive rlar.

use std::path::Path;
use std::time::{Duration, Instant};

use rlar_sandbox::{FunctionForm, GroupVerdict, ReplyResult, UnconfinedFunction};
use serde_json::json;

use crate::reward_functions::{group, source};

fn start(text: &str) -> UnconfinedFunction {
    UnconfinedFunction::start(source(&[("reward.py", text)]), Duration::from_millis(700)).unwrap()
}

fn one(function: &UnconfinedFunction, reply: &str) -> GroupVerdict {
    function.call_until(&[group(&[reply], &json!({}))], &|| false).unwrap().remove(0).verdict
}

fn score(value: f64) -> GroupVerdict {
    GroupVerdict::Replies(vec![ReplyResult::Score(value)])
}

/// Whether a process runs; one that ended and was not waited for does not.
fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z")
}

fn wait_until_gone(pid: &str) {
    let began = Instant::now();
    while runs(pid) {
        assert!(began.elapsed() < Duration::from_secs(10), "process {pid} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_trusted_function_may_use_files_sockets_processes_and_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("table.txt"), "4.0").unwrap();
    std::fs::write(folder.path().join("lazy.py"), "TWO = 2.0").unwrap();
    let text = "import os, socket, subprocess, sys\nasync def f(completions, **kwargs):\n    socket.socket().close()\n    \
                subprocess.run(['true'], check=True)\n    two = __import__('lazy').TWO\n    four = \
                float(open(os.path.join(os.path.dirname(__file__), 'table.txt')).read())\n    return [two + four]";
    let source = rlar_sandbox::FunctionSource { folder: folder.path().to_owned(), ..source(&[("reward.py", text)]) };
    let function = UnconfinedFunction::start(source, Duration::from_secs(5)).unwrap();
    assert_eq!(function.form(), FunctionForm::Trl);
    assert_eq!(one(&function, "a"), score(6.0));
}

#[test]
fn a_trusted_function_that_hangs_or_dies_loses_its_process_and_the_next_call_gets_a_new_one() {
    let text = "import os, time\ndef f(completions, **kwargs):\n    if completions[0] == 'hang': time.sleep(100)\n    if \
                completions[0] == 'die':\n        os.write(2, b'the end is near\\n')\n        os._exit(3)\n    if \
                completions[0] == 'raise': raise KeyError('k')\n    return [float(os.getpid())]";
    let function = start(text);
    let pid = |verdict: GroupVerdict| match verdict {
        GroupVerdict::Replies(results) => results[0].clone(),
        other => panic!("{other:?}"),
    };
    let first = pid(one(&function, "fine"));
    assert_eq!(pid(one(&function, "fine")), first, "one process serves many calls");
    assert_eq!(one(&function, "raise"), GroupVerdict::Raised("KeyError: 'k' (reward.py:7)".into()));
    assert_eq!(pid(one(&function, "fine")), first);
    assert_eq!(one(&function, "hang"), GroupVerdict::TimeLimit(Duration::from_millis(700)));
    let second = pid(one(&function, "fine"));
    assert_ne!(second, first);
    let GroupVerdict::Crashed(how) = one(&function, "die") else { panic!("it did not die") };
    assert!(how.contains("exit status: 3") && how.contains("the end is near"), "{how}");
    assert_ne!(pid(one(&function, "fine")), second);
}

#[test]
fn megabytes_of_output_by_any_way_are_drained_and_bounded() {
    let text = "import os, subprocess\ndef f(completions, **kwargs):\n    print('y' * 3_000_000)\n    os.write(1, b'z' * \
                3_000_000)\n    subprocess.run(['head', '-c', '3000000', '/dev/zero'])\n    return [1.0]";
    let source = source(&[("reward.py", text)]);
    let function = UnconfinedFunction::start(source, Duration::from_secs(20)).unwrap();
    let result = function.call_until(&[group(&["a"], &json!({}))], &|| false).unwrap().remove(0);
    assert_eq!(result.verdict, score(1.0));
    assert!(result.printed.starts_with("yyy") && result.printed.len() < 20_000, "{}", result.printed.len());
}

#[test]
fn the_process_and_its_children_end_with_the_function() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let text = format!(
        "import os, subprocess, time\ndef f(completions, **kwargs):\n    child = subprocess.Popen(['sleep', '1000'])\n    \
         open({:?}, 'w').write('%d %d' % (os.getpid(), child.pid))\n    if completions[0] == 'hang': time.sleep(1000)\n    \
         return [1.0]",
        pids.display().to_string()
    );
    let running =
        |path: &Path| -> Vec<String> { std::fs::read_to_string(path).unwrap().split(' ').map(str::to_owned).collect() };
    let function = start(&text);
    assert_eq!(one(&function, "a"), score(1.0));
    let first = running(&pids);
    assert!(first.iter().all(|pid| runs(pid)));
    assert!(matches!(one(&function, "hang"), GroupVerdict::TimeLimit(_)));
    let second = running(&pids);
    // The first process was the one that hung; all its children are in its group.
    for pid in first.iter().chain(&second) {
        wait_until_gone(pid);
    }
    assert_eq!(one(&function, "a"), score(1.0));
    let third = running(&pids);
    drop(function);
    for pid in &third {
        wait_until_gone(pid);
    }
}
