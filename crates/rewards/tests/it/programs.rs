//! Which program of a reply `code_tests` runs, and which tests it runs on it.

use std::path::Path;
use std::time::Duration;

use rlar_data::{Completion, Example, Needs, read_examples};
use rlar_oracles::{needs_oracles, oracle};
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, Outcome, ToolContext};
use rlar_sandbox::SandboxLimits;
use serde_json::{Value, json};

/// A row, a reply, and whether the reply solves the row.
type Case = (Value, String, bool);

fn outcomes(cases: &[Case]) -> Vec<Outcome> {
    let limits = SandboxLimits { wall: Duration::from_secs(10), ..SandboxLimits::default() };
    let mut rewards =
        Orchestrator::new(Library::curated().unwrap(), ToolContext::new(limits), OrchestratorConfig::default());
    let read =
        |row: &Value| read_examples(Path::new("x.jsonl"), row.to_string().as_bytes(), Needs::Prompt).unwrap().remove(0);
    let read: Vec<(Example, Completion)> =
        cases.iter().map(|(r, c, _)| (read(r), Completion::whole(c.as_str()))).collect();
    let items: Vec<(&Example, &Completion)> = read.iter().map(|(e, c)| (e, c)).collect();
    rewards.open("code_tests").unwrap().score(&items).unwrap()
}

fn check(cases: &[Case]) {
    let wrong: Vec<String> = cases
        .iter()
        .zip(outcomes(cases))
        .filter(|((_, _, solves), outcome)| *outcome != Outcome::Scored(f64::from(u8::from(*solves))))
        .map(|((_, reply, solves), outcome)| format!("solves: {solves}, {outcome:?}\n{reply}\n"))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Cases of one row.
fn check_row(row: &Value, cases: &[(&str, bool)]) {
    check(&cases.iter().map(|(reply, solves)| (row.clone(), (*reply).to_owned(), *solves)).collect::<Vec<_>>());
}

fn area() -> Value {
    json!({ "prompt": "Write it.", "tests": ["assert area(2, 3) == 6", "assert area(0, 3) == 0"] })
}

fn doubled() -> Value {
    let tests = json!([{ "input": "4\n", "output": "8\n" }, { "input": "-1\n", "output": "-2\n" }]);
    json!({ "prompt": "Write it.", "tests": tests })
}

const RIGHT: &str = "```python\ndef area(w, h):\n    return w * h\n```\n";

#[test]
fn the_block_that_defines_what_the_tests_call_is_judged() {
    let with = |before: &str, after: &str| format!("{before}{RIGHT}{after}");
    let replies = [
        (with("", "Try it:\n```python\nprint(area(1, 2))\n```\n"), true),
        (with("", "```python\ndef main():\n    print(area(1, 2))\nmain()\n```\n"), true),
        (with("", "```python\nimport unittest\nclass TestArea(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(area(1, 2), 2)\nunittest.main()\n```"), true),
        (with("", "```python\nfrom solution import area\nassert area(1, 1) == 1\n```"), true),
        (with("", "```bash\npython3 area.py\n```\nIt prints:\n```\n6\n```\n"), true),
        (with("", "In JavaScript:\n```javascript\nfunction area(w, h) { return w * h }\n```"), true),
        (with("", "In Ruby:\n```ruby\ndef area(w, h)\n  w * h\nend\n```"), true),
        (with("", "```pycon\n>>> area(1, 2)\n2\n```"), true),
        (with("The signature:\n```python\ndef area(w, h): ...\n```\n", ""), true),
        (with("", "The signature again:\n```python\ndef area(w, h):\n    '''The area.'''\n    pass\n```\n"), true),
        (with("First try:\n```python\ndef area(w, h):\n    return w + h\n```\nThat is wrong. Better:\n", ""), true),
        (with("", "On second thought:\n```python\ndef area(w, h):\n    return w + h\n```\n"), false),
        (with("```python\nwidth = 3\n```\n", "```python\nclass Shape:\n    pass\n```"), true),
        ("```python\ndef other(w, h):\n    return w * h\n```\n```python\nother(1, 2)\n```".into(), false),
        ("```python\narea = lambda w, h: w * h\n```\n```python\ndef test():\n    assert area(1, 1) == 1\n```".into(), true),
        ("```text\ndef area(w, h):\n    return w * h\n```".into(), true),
        ("```python\nclass Solution:\n    def area(self, w, h):\n        return w * h\n```\n```python\narea = Solution().area\n```".into(), true),
        ("```python\nclass Solution:\n    def area(self, w, h):\n        return w * h\n```".into(), false),
        ("I cannot do this.".into(), false),
        (String::new(), false),
        ("```python\n```".into(), false),
    ];
    check(&replies.map(|(reply, solves)| (area(), reply, solves)));
}

#[test]
fn definitions_that_the_judged_block_needs_come_from_the_other_blocks() {
    check_row(
        &area(),
        &[
            (
                "```python\ndef times(a, b):\n    return a * b\n```\nThen\n```python\ndef area(w, h):\n    return times(w, h)\n```",
                true,
            ),
            (
                "```python\ndef area(w, h):\n    return times(w, h)\n```\nwith\n```python\ndef times(a, b):\n    return a * b\n```",
                true,
            ),
            ("```python\nimport operator as op\n```\n```python\ndef area(w, h):\n    return op.mul(w, h)\n```", true),
            ("```python\nfrom operator import *\n```\n```python\ndef area(w, h):\n    return mul(w, h)\n```", true),
            (
                "```python\nONE = 1\nTWO = ONE + ONE\n```\n```python\ndef area(w, h):\n    return w * h * TWO // 2\n```",
                true,
            ),
            (
                "```python\nclass Box:\n    def __init__(self, w, h):\n        self.size = w * h\n```\n```python\ndef area(w, h):\n    return Box(w, h).size\n```",
                true,
            ),
            (
                "```python\ndef times(a, b):\n    return a * b\nprint(times(1))\n```\n```python\ndef area(w, h):\n    return times(w, h)\n```",
                true,
            ),
            (
                "```python\ndef times(a, b):\n    return a + b\n```\n```python\ndef area(w, h):\n    return times(w, h)\n```",
                false,
            ),
            (
                "```python\ndef area(w, h):\n    result = w * h\n    return result\n```\n```python\nresult = area(2)\n```",
                true,
            ),
            (
                "```python\nfrom typing import Union\nNumber = Union[int, float]\n```\n```python\ndef area(w: Number, h: Number) -> Number:\n    return w * h\n```",
                true,
            ),
            (
                "```python\ndef show(x):\n    return str(x)\n```\n```python\ndef area(w, h):\n    return int(f'{show(w * h)}')\n```",
                true,
            ),
            (
                "```python\nfrom __future__ import annotations\ndef times(a: Late, b):\n    return a * b\n```\n```python\nfrom __future__ import division\ndef area(w, h):\n    return times(w, h)\n```",
                true,
            ),
        ],
    );
    let two = json!({ "prompt": "Write it.", "tests": ["s = Stack()\ns.push(1)\nassert top(s) == 1"] });
    let stack =
        "```python\nclass Stack:\n    def __init__(self): self.x = []\n    def push(self, v): self.x.append(v)\n```\n";
    let top = "```python\ndef top(s):\n    return s.x[-1]\n```\n";
    let demo = "```python\ndef demo():\n    s = Stack()\ndemo()\n```";
    check(&[
        (two.clone(), format!("{stack}{top}{demo}"), true),
        (two.clone(), format!("{top}{stack}"), true),
        (two, format!("{stack}{demo}"), false),
    ]);
}

#[test]
fn of_whole_programs_the_block_that_reads_the_input_is_judged() {
    let program = "```python\nn = int(input())\nprint(2 * n)\n```\n";
    let with = |after: &str| (format!("{program}{after}"), true);
    let replies = [
        with("Run it:\n```\npython3 double.py\n```\n"),
        with("```text\n4\n8\n```"),
        with("For 4 it prints\n```\n8\n```"),
        with("```python\ndef test():\n    assert 2 * 4 == 8\ntest()\n```"),
        with("```python\nimport io, sys\nsys.stdin = io.StringIO('4')\nprint(8)\n```"),
        with("The formula:\n```python\nresult = 2 * n\nprint(result)\n```"),
        ("```python\ndef solve(n):\n    return 2 * n\n```\n```python\nn = int(input())\nprint(solve(n))\n```".into(), true),
        ("```python\ndef solve():\n    print(2 * int(input()))\n```\nand\n```python\nif __name__ == '__main__':\n    solve()\n```".into(), true),
        ("```python\nimport sys\n```\n```python\nfor line in sys.stdin:\n    print(2 * int(line))\n```\n```\n8\n```".into(), true),
        ("```python\nn = int(open(0).read())\nprint(2 * n)\n```\n```python\nprint('done')\n```".into(), true),
        ("```python\nn = int(input())\nprint(n + 4)\n```\nNo, it is:\n```python\nn = int(input())\nprint(n * 2)\n```".into(), true),
        (format!("{program}Or:\n```python\nn = int(input())\nprint(n + 4)\n```"), false),
        ("```python\nprint(8)\n```".into(), false),
    ];
    check(&replies.map(|(reply, solves)| (doubled(), reply, solves)));
    let hello = json!({ "prompt": "Write it.", "tests": [{ "input": "", "output": "hello\n" }] });
    check_row(
        &hello,
        &[
            ("```python\nprint('hello')\n```\n```bash\npython3 hello.py\n```", true),
            ("```python\nprint('hello')\n```\n```python\ndef unused():\n    return 1\n```", true),
            ("```python\nprint('hi')\n```", false),
        ],
    );
}

#[test]
fn a_block_ends_and_is_indented_as_its_fence_says() {
    let body = "def area(w, h):\n    return w * h\n";
    let indented = |by: &str| body.lines().map(|l| format!("{by}{l}\n")).collect::<Vec<_>>().concat();
    let mut replies = vec![
        format!("~~~python\n{body}~~~\n"),
        format!("~~~~\n{body}~~~~\nDone."),
        format!("````python\n{body}````\n"),
        format!("```{{.python .numberLines}}\n{body}```\n"),
        format!("```Python3 title=\"area.py\"\n{body}```\n"),
        format!("``` python\n{body}```\n"),
        format!("```py\n{body}"),
        format!("The code: ```python\n{body}```\n"),
        format!("```python\n{}```\n", body.trim_end()),
        format!("1. So:\n\n   ```python\n{}   ```\n2. Done.\n", indented("   ")),
        format!("- So:\n    ```python\n{}    ```\n", indented("    ")),
        format!("* a\n  * b\n\n    ~~~python\n{}    ~~~\n", indented("    ")),
        format!("-\tSo:\n\n\t```python\n{}\t```\n", indented("\t")),
        format!("- ```python\n{}  ```\n", indented("  ")),
        format!("10. ```python\n{}    ```\n", indented("    ")),
        format!("> So:\n>\n> ```python\n{}> ```\n", indented("> ")),
        format!(">```python\n{}>```\n", indented(">")),
        format!("```python\n{}```\n", indented("    ")),
        format!("   ```python\n{body}```\n"),
        format!("```markdown\n# Answer\n```python\n{body}```\n"),
        format!("````markdown\n# Answer\n\n```python\n{body}```\n\nDone.\n````\n"),
        format!("{body}```\nThis multiplies."),
        format!("```python\r\n{}```\r\n", body.replace('\n', "\r\n")),
        format!("Use `*`.\n\n```python\n{body}```\n\nI hope that ```helps```."),
    ];
    for inner in [
        "```\n    area(1, 2)\n    ```",
        "```python\n    area(1, 2)\n    ```",
        "~~~\n    ```\n    ~~~",
        ">>> area(1, 2)\n    ```",
    ] {
        replies.push(format!(
            "```python\ndef area(w, h):\n    \"\"\"Multiplies.\n\n    {inner}\n    \"\"\"\n    return w * h\n```\nDone."
        ));
    }
    replies.push(
        "```python\n\"\"\"Areas.\n\n```\narea(1, 2)\n```\n\"\"\"\ndef area(w, h):\n    return w * h\n```\nDone.".into(),
    );
    replies.push("```python\nclass A:\n  '''Usage:\n\n  ```python\n  A()\n  ```\n  '''\ndef area(w, h):\n  r\"\"\"\n  ```\n  \"\"\"\n  return w * h\n```\n```text\nit's\n```".into());
    replies
        .push("```text\na \"\"\" b\n```\n```python\ndef area(w, h):\n    '''Area.'''\n    return w * h\n```\n".into());
    replies.push("````python\nFENCE = '''\n```\n'''\ndef area(w, h):\n    return w * h\n````".into());
    let mut cases: Vec<Case> = replies.into_iter().map(|reply| (area(), reply, true)).collect();
    let wrong = body.replace('*', "+");
    for reply in
        [format!("1. So:\n\n   ```python\n{wrong}   ```\n"), format!("~~~python\n{wrong}~~~\n"), format!("> {wrong}")]
    {
        cases.push((area(), reply, false));
    }
    check(&cases);
}

#[test]
fn code_is_found_in_prose_without_fences() {
    check_row(
        &area(),
        &[
            ("Here is the function:\n\ndef area(w, h):\n    return w * h\n\nIt multiplies the sides.", true),
            (
                "Sure! It's easy.\n\nimport operator\n\ndef area(w, h):\n    # Multiplies.\n    return operator.mul(w, h)\n\nNote: no checks.",
                true,
            ),
            ("def area(w, h):\n    return w * h\n\n- It is short.\n- It is fast.", true),
            ("Explanation:\n\n    w times h\n\ndef area(w, h):\n    return w * h", true),
            ("def area(w, h):\n    return w * h", true),
            ("def area(w, h):\n    return w * h\nprint(area(1, 2))", true),
            (
                "def area takes the width and height.\n\ndef area(w, h):\n    return (w *\n            h)\n\n**Done**",
                true,
            ),
            ("Here is the function:\n\ndef area(w, h):\n    return w + h\n\nIt multiplies the sides.", false),
            ("The area is w * h.", false),
            ("area = w * h", false),
        ],
    );
    check_row(
        &doubled(),
        &[
            ("Read the number, then double it.\n\nn = int(input())\nprint(2 * n)\n\nThis takes constant time.", true),
            ("import sys\nn, = map(int, sys.stdin.read().split())\nprint(n + n)", true),
        ],
    );
}

#[test]
fn imports_from_the_future_come_first_when_code_is_put_together() {
    let row = json!({ "prompt": "from typing import List\n\n\ndef largest(xs: List[int]) -> int:\n    \"\"\" The largest. \"\"\"\n",
        "entry_point": "largest", "test": "def check(candidate):\n    assert candidate([1, 5, 2]) == 5\n" });
    let function = "def largest(xs: List[int]) -> int:\n    return max(xs)\n";
    let replies = [
        (format!("```python\nfrom __future__ import annotations\n\n{function}```"), true),
        (format!("```python\n'''Largest.'''\nfrom __future__ import annotations\n{function}```"), true),
        (format!("```python\n# A comment.\n\nfrom __future__ import (\n    annotations,  # late\n    division,\n)\nimport os\n{function}```"), true),
        (format!("```python\nfrom __future__ import annotations; import os\n{function}```"), true),
        (format!("```python\nfrom __future__ import annotations\nfrom __future__ import division as d\n{function}```"), true),
        ("```python\nfrom __future__ import annotations\ndef largest(xs: Later) -> Unknown[int]:\n    return max(xs)\n```".into(), true),
        // Python refuses these where they are.
        (format!("```python\nimport os\nfrom __future__ import annotations\n{function}```"), false),
        (format!("```python\n{function}from __future__ import annotations\n```"), false),
        (format!("```python\nfrom __future__ import braces\n{function}```"), false),
        ("```python\nfrom __future__ import annotations\ndef largest(xs):\n    return min(xs)\n```".into(), false),
    ];
    check(&replies.clone().map(|(reply, solves)| (row.clone(), reply, solves)));
    let mut begun = row;
    begun["prompt"] = json!(format!("from __future__ import annotations\n{}", begun["prompt"].as_str().unwrap()));
    begun["test"] = json!(format!("from __future__ import annotations\n{}", begun["test"].as_str().unwrap()));
    check(&replies.map(|(reply, solves)| (begun.clone(), reply, solves)));
    check_row(&begun, &[("    return max(xs)\n", true), ("    return min(xs)\n", false)]);
}

#[test]
fn what_the_prompt_imports_and_defines_is_there_however_the_prompt_holds_it() {
    let code = "import math\nfrom typing import List, Optional\n\nBASE = 10\n\ndef digits(n: int) -> List[int]:\n    \
                return [int(c) for c in str(n)]\n\n\ndef digit_sum(n: int) -> Optional[int]:\n    \"\"\" Adds the digits.\n    >>> digit_sum(12)\n    3\n    \"\"\"\n";
    let test = "def check(candidate):\n    assert candidate(123) == sum(digits(123)) == 6\n    assert candidate(0) == 0\n    assert BASE == 10 and math.floor(1.5) == 1\n";
    let prompts = [
        code.to_owned(),
        format!("Complete:\n```python\n{code}```"),
        format!("Complete:\n```python\n{code}```\nReply with code only."),
        format!("```\n{code}    # your code here\n```"),
        format!("Complete:\n~~~python\n{code}    pass\n~~~"),
        format!("Please complete this function.\n\n{code}\nReply with code only."),
        format!("Complete the function:\n\n{code}"),
        format!(
            "1. Complete:\n\n   ```python\n{}   ```\n",
            code.lines().map(|l| format!("   {l}\n")).collect::<Vec<_>>().concat()
        ),
    ];
    let function = |body: &str| format!("def digit_sum(n: int) -> Optional[int]:\n    {body}\n");
    let mut cases = Vec::new();
    for prompt in &prompts {
        let row = json!({ "prompt": prompt, "entry_point": "digit_sum", "test": test });
        for (reply, solves) in [
            (format!("```python\n{}```", function("return sum(digits(n))")), true),
            (
                format!(
                    "```python\n{}```",
                    function("return sum(int(math.fabs(d)) for d in digits(n)) % (BASE * BASE)")
                ),
                true,
            ),
            (function("return sum(digits(n))"), true),
            (format!("The function:\n\n{}\nIt adds them.", function("return sum(digits(n))")), true),
            (format!("```python\n{}```", code.replace(">>>", "...") + "    return sum(digits(n))\n"), true),
            ("    return sum(digits(n))\n".into(), true),
            ("```python\n    return sum(digits(n))\n```".into(), true),
            (
                "    total = 0\n    for d in digits(n):\n        total += d\n    return total\n\nThis adds them."
                    .into(),
                true,
            ),
            (
                format!(
                    "```python\n{}```\n```python\nassert digit_sum(12) == 3\n```",
                    function("return sum(digits(n))")
                ),
                true,
            ),
            (format!("```python\n{}```", function("return max(digits(n))")), false),
            ("    return max(digits(n))\n".into(), false),
            ("    pass\n".into(), false),
            ("I do not know.".into(), false),
            (String::new(), false),
        ] {
            cases.push((row.clone(), reply, solves));
        }
    }
    check(&cases);
}

#[test]
fn the_prompts_own_function_is_never_judged() {
    let solved = "def triple(x):\n    return 3 * x\n";
    let test = "def check(candidate):\n    assert candidate(2) == 6\n";
    for prompt in [solved.to_owned(), format!("Explain:\n```python\n{solved}```"), format!("Explain this.\n\n{solved}")]
    {
        let row = json!({ "prompt": prompt, "entry_point": "triple", "test": test });
        check_row(
            &row,
            &[
                ("", false),
                ("It triples.", false),
                ("    return 0\n", false),
                ("pass", false),
                ("```python\nx = 1\n```", false),
                ("```python\ndef triple(x):\n    return x + x + x\n```", true),
                ("```python\ndef triple(x):\n    return x\n```", false),
            ],
        );
    }
}

#[test]
fn tests_are_read_in_the_forms_of_the_data_sets() {
    let program = "n = int(input())\nprint(2 * n)\n";
    let streams = [
        json!({ "inputs": ["4\n", "1"], "outputs": ["8\n", "2"] }),
        json!({ "input": ["4\n"], "output": ["8\n"] }),
        json!({ "inputs": [["4"], [4]], "outputs": [["8"], "8"] }),
        json!({ "inputs": [4], "outputs": [8], "fn_name": null }),
        json!([{ "input": ["4", ""], "output": ["8", ""] }]),
        json!([{ "input": 4, "output": 8 }]),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for tests in &streams {
        for column in ["tests", "input_output"] {
            for value in [tests.clone(), json!(tests.to_string())] {
                let row = json!({ "prompt": "Write it.", column: value });
                cases.push((row.clone(), program.into(), true));
                cases.push((row, program.replace('2', "3"), false));
            }
        }
    }
    let calls = json!({ "fn_name": "pairs", "inputs": [[[1, 2], 3], [[], 0]], "outputs": [{ "a": [1, 2], "b": 0.3 }, { "a": [], "b": 0.0 }] });
    let row = json!({ "prompt": "Write it.", "tests": calls.to_string() });
    let body = "return {'a': tuple(xs), 'b': 0.1 * k}";
    cases.push((row.clone(), format!("def pairs(xs, k):\n    {body}\n"), true));
    cases.push((
        row.clone(),
        format!("class Solution:\n    def pairs(self, xs: List[int], k: int) -> Dict[str, Any]:\n        {body}\n"),
        true,
    ));
    cases.push((row.clone(), "def pairs(xs, k):\n    return {'a': xs, 'b': 1}\n".into(), false));
    cases.push((row.clone(), "def pairs(xs, k):\n    return {'a': xs}\n".into(), false));
    cases.push((row, "class Solution:\n    def pairs(self, xs, k):\n        return None\n".into(), false));
    let wrapped = json!({ "prompt": "Write it.", "tests": { "fn_name": "next_one", "inputs": [[1], [7]], "outputs": [[2], [8]] } });
    cases.push((wrapped.clone(), "def next_one(n):\n    return n + 1\n".into(), true));
    cases.push((wrapped, "def next_one(n):\n    return n + 1 > 0\n".into(), false));
    let quoted = json!({ "prompt": "Write it.", "tests": { "fn_name": "f", "inputs": [["a'\"\\\n\u{e9}{}"]], "outputs": ["\u{e9}'\"\\\n"] } });
    cases.push((quoted.clone(), "def f(s):\n    return s[5:6] + s[1:5]\n".into(), true));
    cases.push((quoted, "def f(s):\n    return s[1:6]\n".into(), false));
    let truth =
        json!({ "prompt": "Write it.", "tests": { "fn_name": "f", "inputs": [[1], [0]], "outputs": [true, false] } });
    cases.push((truth.clone(), "def f(n):\n    return n == 1\n".into(), true));
    cases.push((truth, "def f(n):\n    return n\n".into(), false));
    check(&cases);
    let unknown = [
        json!({ "inputs": ["1"], "outputs": [] }),
        json!("not json"),
        json!([{ "input": "1" }]),
        json!({ "fn_name": "f", "inputs": ["1"], "outputs": ["1"] }),
    ];
    let unknown = unknown.map(|tests| (json!({ "prompt": "Write it.", "tests": tests }), program.to_owned(), false));
    for outcome in outcomes(&unknown) {
        assert!(matches!(outcome, Outcome::Abstained(_)), "{outcome:?}");
    }
}

#[test]
fn a_row_may_ask_for_another_tolerance() {
    let row = |more: Value| {
        let mut row = json!({ "prompt": "Write it.", "tests": [{ "input": "", "output": "0.5 10\n" }] });
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let cases = [
        (json!({}), "0.5000000001 10", true),
        (json!({}), "0.5 10.0", false),
        (json!({}), "0.501 10", false),
        (json!({ "tolerance": 0.01 }), "0.501 10.05", true),
        (json!({ "tolerance": 0.01 }), "0.52 10", false),
        (json!({ "tolerance": 0 }), "0.5000000001 10", false),
        (json!({ "tolerance": 0 }), "0.50 10", true),
    ];
    check(&cases.map(|(more, printed, solves)| (row(more), format!("print('{printed}')"), solves)));
    let asked = row(json!({ "tolerance": "much" }));
    assert!(matches!(outcomes(&[(asked, "print(1)".into(), false)])[0], Outcome::Abstained(_)));
}

/// The rows with replies in the recorded reports about programs and their tests.
fn reported(area: &str) -> Vec<(String, Value)> {
    let file = std::fs::read_to_string(oracle!("oracles/reports/cases.jsonl")).unwrap();
    let reports = file.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let reports = reports.filter(|r| r["area"].as_str().unwrap().starts_with(area));
    reports.map(|r| (r["id"].as_str().unwrap().to_owned(), r["input"].clone())).collect()
}

#[needs_oracles]
#[test]
fn reported_programs_get_the_expected_scores() {
    let mut cases: Vec<Case> = Vec::new();
    for (id, input) in reported("sandbox") {
        let before = cases.len();
        let rows = input["rows"].as_array().cloned().unwrap_or_default();
        for row in rows.iter().chain([&input["row"], &input["reward_row"]]).filter(|r| r.is_object()) {
            let mut row = row.clone();
            let expected = row.get("expected_score").unwrap_or(&input["expected_score"]).clone();
            // The rows of one report only show the form of the tests.
            let reply = row["response"].as_str().unwrap_or("print(int(input()) + 1)").to_owned();
            for key in ["response", "expected_score", "rlar_score"] {
                row.as_object_mut().unwrap().remove(key);
            }
            row.as_object_mut().unwrap().entry("prompt").or_insert("Write it.".into());
            cases.push((row, reply, expected.as_f64().unwrap_or(1.0) == 1.0));
        }
        assert!(cases.len() > before || input["program"].is_string(), "{id} has nothing to check");
    }
    assert!(cases.len() >= 9, "{} rows", cases.len());
    check(&cases);
}

#[needs_oracles]
#[test]
fn reported_programs_run_or_are_told_why_not() {
    let sandbox = rlar_sandbox::Sandbox::open().unwrap();
    let mut ran = 0;
    for (id, input) in reported("sandbox") {
        let Some(source) = input["program"].as_str() else { continue };
        let stdin = input["stdin"].as_str().unwrap_or("5\n");
        let end = rlar_sandbox::run(&sandbox, source, stdin.as_bytes(), &SandboxLimits::default()).unwrap().verdict;
        let fine = match &end.termination {
            rlar_sandbox::Termination::Exited(0) => end.stdout == b"6\n",
            rlar_sandbox::Termination::NotAllowed(what) => source.contains("threading") && what.contains("threads"),
            _ => false,
        };
        assert!(fine, "{id}: {end:?}");
        ran += 1;
    }
    assert!(ran >= 2, "{ran} programs");
}
