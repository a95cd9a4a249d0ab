//! Programs behave in the sandbox as with `python3 program.py < input`.

use std::io::Write;
use std::process::{Command, Stdio};

use rlar_sandbox::{Comparison, IoTest, Program, Sandbox, Termination, TestVerdict, Tests, Tier, run};

use crate::programs::limits;
use crate::{each_tier, sandbox};

/// Exit code and standard output of a program in plain Python, with its input in a file.
fn in_plain_python(source: &str, input: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("program.py"), source).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let python = std::env::var("RLAR_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command
        .arg("program.py")
        .current_dir(folder.path())
        .stdin(file)
        .stderr(Stdio::null())
        .env_remove("PYTHONUNBUFFERED");
    let out = command.output().unwrap();
    (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap())
}

fn in_sandbox(sandbox: &Sandbox, source: &str, input: &str) -> (i32, String) {
    let run = run(sandbox, source, input.as_bytes(), &limits()).unwrap().verdict;
    let Termination::Exited(code) = run.termination else { panic!("{run:?}\n{source}") };
    (
        code,
        String::from_utf8(run.stdout).unwrap() + if code > 0 { "" } else { std::str::from_utf8(&run.stderr).unwrap() },
    )
}

fn agree(programs: &[&str], input: &str) {
    each_tier(|sandbox| {
        for source in programs {
            let plain = in_plain_python(source, input);
            assert_eq!(in_sandbox(sandbox, source, input), plain, "tier {}:\n{source}", sandbox.tier());
        }
    });
}

#[test]
fn a_program_has_what_site_gives() {
    agree(
        &[
            "print(int(input()) + 1)\nexit()\n",
            "print(6)\nquit()",
            "print(6)\nexit(0)\nprint(7)",
            "exit(3)",
            "quit('no')",
            "exit(True)",
            "exit(None)",
            "def f():\n    try:\n        exit()\n    except Exception:\n        print('caught')\nf()\nprint('on')",
            "try:\n    quit(2)\nexcept SystemExit as e:\n    print(e.code)",
            "import sys\nif __name__ == '__main__':\n    print('x')\n    sys.exit()",
            "import builtins\nbuiltins.exit()",
            "print(exit, quit)",
            "print(repr(help))",
            "def f():\n    '''Adds.'''\nhelp(f)",
            "print(str(copyright)[:20], callable(credits), callable(license))",
            "from builtins import exit as leave\nprint(1)\nleave(4)",
            "import atexit\natexit.register(print, 'bye')\nexit()",
            "print('end', end='')\nexit()",
            "print(sorted(n for n in dir(__builtins__) if n[0] != '_'))",
        ],
        "5\n",
    );
}

#[test]
fn a_program_has_the_variables_of_a_main_module() {
    agree(
        &[
            "import os\nprint(os.path.basename(__file__), os.path.isabs(__file__))",
            "import sys\nprint(sys.argv)",
            "print(__name__, __package__, __spec__, __doc__)",
            "'''Says hello.'''\nprint(__doc__)",
            "print(__builtins__.len([1]), type(__builtins__).__name__)",
            "x: int = 3\nprint(__annotations__)",
            "import inspect\ndef f():\n    return 7\nprint(inspect.getsource(f))",
            "import sys\nprint(sys.modules['__main__'].__dict__ is globals())",
            "import __main__\nx = 5\nprint(__main__.x)",
            "from pathlib import Path\nprint(Path(__file__).name)",
            "print(open(__file__).read() == open('program.py', 'rb').read().decode())",
            "print(len(open(__file__).readlines()))\n\n",
            "import sys\nprint(open(sys.argv[0]).read(), end='')",
            "from pathlib import Path\nprint(Path(__file__).read_text())",
            "import sys\nsys.exit('said')",
            "import sys\nprint(sys.stdin.isatty(), sys.stdout.encoding.lower())",
        ],
        "",
    );
}

#[test]
fn standard_input_can_be_read_in_every_way() {
    agree(
        &[
            "print(sum(map(int, open(0).read().split())))",
            "print(sum(map(int, open('/dev/stdin').read().split())))",
            "with open('/dev/stdin') as f:\n    for line in f:\n        print(line.rstrip()[::-1])",
            "with open('/dev/stdin', 'rb') as f:\n    print(f.read())",
            "import sys\nsys.stdin = open('/dev/stdin')\nprint(input())",
            "import io\nprint(io.open('/dev/stdin', 'r', encoding='utf-8').readlines())",
            "from pathlib import Path\nprint(Path('/dev/stdin').read_text())",
            "import os\nprint(os.read(os.open('/dev/stdin', os.O_RDONLY), 100))",
            "import os\nfrom io import BytesIO\ninput = BytesIO(os.read(0, os.fstat(0).st_size)).readline\nprint(input())",
            "import mmap\nm = mmap.mmap(0, 0, access=mmap.ACCESS_READ)\nprint(m.readline())",
            "import sys\nfirst = sys.stdin.read()\nsys.stdin.seek(0)\nprint(first == sys.stdin.read())",
            "import sys\nprint(sys.stdin.buffer.read().split())",
            "import sys\nfor line in sys.stdin:\n    print(line.split())",
            "import fileinput\nprint([line for line in fileinput.input()])",
            "import fileinput\nprint([line for line in fileinput.input('/dev/stdin')])",
            "input()\ninput()\ntry:\n    input()\nexcept EOFError:\n    print('end')",
            "import os\nprint(os.read(0, 1000))",
            "f = open('/dev/fd/0')\nprint(f.readline())",
            "print(open('/dev/stdin').name, open is __import__('io').open)",
            "import codecs\nprint(codecs.open('/dev/stdin', encoding='utf-8').read())",
            "import sys\nprint(*map(int, sys.stdin.readline().split()), sep='\\n', file=open('/dev/stdout', 'w'))",
        ],
        "3 4\n5 6\n",
    );
}

#[test]
fn what_is_written_reaches_the_output_however_a_program_ends() {
    agree(
        &[
            "f = open(1, 'w')\nf.write('6')",
            "f = open('/dev/stdout', 'w')\nprint(6, file=f)",
            "import sys\nprint(6)\nsys.stdout.close()",
            "import sys, io\nold, sys.stdout = sys.stdout, io.StringIO()\nprint('lost')\nold.write('kept')",
            "import os\nos.write(1, b'raw')",
            "import sys\nsys.stdout.write('a')\nraise SystemExit",
            "import os, sys\nprint('lost')\nos._exit(0)",
            "import sys\nsys.stdout.reconfigure(line_buffering=True)\nprint(1)",
            "import sys\nprint('shown')\nsys.exit(1)",
            "print('shown')\n1 / 0",
            "import sys\nprint('not the output', file=open('/dev/stderr', 'w')) if False else print('out')",
        ],
        "",
    );
}

#[test]
fn what_does_not_exist_still_does_not() {
    each_tier(|sandbox| {
        let source = "for name in ('/dev/tty', '/dev/fd/3', '/etc/passwd', '/proc/self/fd/0', 'no', '/dev/stdin/x'):\n    \
                      try: open(name); print('opened', name)\n    except OSError: pass\n\
                      try:\n    with open('/dev/stdin', 'w') as f: f.write('x')\n    print('written')\nexcept OSError: pass\n\
                      import os\ntry: os.write(0, b'x'); print('written')\nexcept OSError: pass\n\
                      try: os.ftruncate(0, 0); print('cut')\nexcept OSError: pass\nprint(open(0).read())\n";
        assert_eq!(in_sandbox(sandbox, source, "kept"), (0, "kept\n".into()), "tier {}", sandbox.tier());
    });
}

fn on_input(source: &str) -> TestVerdict {
    let test = IoTest { input: "5\n".into(), output: "6\n".into(), compare: Comparison::Decimals };
    let program = Program { source: source.into(), tests: Tests::InputOutput(vec![test]) };
    program.judge(&sandbox(Tier::A), &limits()).unwrap().tests[0].verdict.clone()
}

#[test]
fn a_program_that_needs_threads_is_told_so() {
    let threads = TestVerdict::NotAllowed("threads are not allowed".into());
    for source in [
        "import threading\nthreading.stack_size(1 << 27)\ndef main():\n    print(int(input()) + 1)\n\
         t = threading.Thread(target=main)\nt.start()\nt.join()\n",
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.Thread(target=print).start()",
        "import _thread\n_thread.start_new_thread(print, ())",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor() as pool:\n    print(*pool.map(int, '6'))",
        "import threading\nthreading.Timer(0.1, print).start()",
        "from threading import Thread\nclass Main(Thread):\n    def run(self): print(6)\nMain().start()",
        "import threading\ntry:\n    threading.Thread(target=print).start()\nexcept RuntimeError as e:\n    raise ValueError('no') from e",
    ] {
        assert_eq!(on_input(source), threads, "{source}");
    }
    // A program that can do without is judged by what it prints, and its own errors stay its own.
    let without =
        "import threading\ntry:\n    threading.Thread(target=print).start()\nexcept RuntimeError:\n    print(6)";
    assert_eq!(on_input(without), TestVerdict::Passed);
    assert_eq!(on_input("import threading\nwith threading.Lock():\n    print(int(input()) + 1)"), TestVerdict::Passed);
    assert!(matches!(on_input("raise RuntimeError('threads')"), TestVerdict::RuntimeError(_)));
}

#[test]
fn a_program_that_needs_sockets_or_processes_is_told_so() {
    for (source, what) in [
        ("import asyncio\nasync def main(): print(6)\nasyncio.run(main())", "sockets are not allowed"),
        ("import socket\nsocket.socket()", "sockets are not allowed"),
        ("import subprocess\nsubprocess.run(['true'])", "processes are not allowed"),
        (
            "from multiprocessing.pool import ThreadPool\nprint(ThreadPool(2).map(int, '6'))",
            "processes are not allowed",
        ),
        ("import multiprocessing\nprint(multiprocessing.Pool(2).map(int, '6'))", "processes are not allowed"),
        ("import multiprocessing\nmultiprocessing.Process(target=print).start()", "processes are not allowed"),
    ] {
        assert_eq!(on_input(source), TestVerdict::NotAllowed(what.into()), "{source}");
    }
}

#[test]
fn a_function_that_needs_threads_is_told_so() {
    let source = "import threading\ndef f(x):\n    t = threading.Thread(target=print)\n    t.start()\n    return x\n\
                  def g(x):\n    try:\n        return f(x)\n    except RuntimeError:\n        return x\n";
    let tests = Tests::Functions {
        setup: String::new(),
        functions: vec!["f".into(), "g".into()],
        tests: ["assert f(1) == 1", "assert g(1) == 1", "assert g(1) == 2"].map(str::to_owned).into(),
    };
    let judged = Program { source: source.into(), tests }.judge(&sandbox(Tier::A), &limits()).unwrap();
    let verdicts: Vec<TestVerdict> = judged.tests.into_iter().map(|t| t.verdict).collect();
    assert_eq!(verdicts[0], TestVerdict::NotAllowed("threads are not allowed".into()));
    assert_eq!(verdicts[1], TestVerdict::Passed);
    assert!(matches!(verdicts[2], TestVerdict::WrongAnswer(_)));
}
