//! Mathematical equivalence, and that no text takes long or causes a panic.

use std::time::{Duration, Instant};

use rlar_metrics::math::{MathRules, compare_answers, equivalent, is_echo as is_echo_of};

fn same(reply: &str, reference: &str) -> bool {
    equivalent(reply, reference, MathRules::default())
}

#[test]
fn a_comparison_names_the_two_answers() {
    for (reply, reference, found, wanted) in [
        ("7", "8", "7", "8"),
        ("Then $x = 3$, so the answer is $\\boxed{\\frac{1}{2}}$.", "0.5", "\\frac{1}{2}", "0.5"),
        ("It is 1,234,567 in all.", "6 + 6 = 12\n#### 12", "1234567", "12"),
        ("First we wait.\nIt is at 5:30 pm", "17:30", "It is at 5:30 pm", "17:30"),
        (" ", "4", "", "4"),
    ] {
        let compared = compare_answers(reply, reference, MathRules::default());
        assert_eq!(
            (compared.reply.unwrap_or_default().as_str(), compared.reference.as_str()),
            (found, wanted),
            "{reply}"
        );
        assert_eq!(compared.are_equal, same(reply, reference), "{reply}");
    }
}

#[test]
fn notations_of_the_same_answer_are_equivalent() {
    for (reply, reference) in [
        ("72", "72"),
        ("The answer is 72.", "#### 72"),
        ("so we get $\\boxed{\\frac{3}{4}}$", "0.75"),
        ("It is 1,234,567 in all.", "1234567"),
        ("\\frac{1}{2}", "1/2"),
        ("x = 5", "5"),
        ("50%", "50"),
        ("\\text{(C)}", "C"),
        ("3\\frac{1}{2}", "7/2"),
        ("\\{3, 1, 2\\}", "\\{1, 2, 3\\}"),
        ("(x+1)^2", "x^2 + 2x + 1"),
        ("\\sin^2 x + \\cos^2 x", "1"),
        ("2\\sqrt{2}", "\\sqrt{8}"),
        ("[0, 1) \\cup (2, 3]", "(2,3] \\cup [0,1)"),
        ("x \\in (-\\infty, 3]", "(-\\infty,3]"),
        ("\\begin{pmatrix} 1 \\\\ 1/2 \\end{pmatrix}", "\\begin{bmatrix} 1 \\\\ 0.5 \\end{bmatrix}"),
        ("12\\text{ cm}^2", "12"),
        ("2^{10}", "1024"),
        ("\\log_2 8", "3"),
        ("5!", "120"),
        ("\\binom{5}{2}", "10"),
        ("1 + 2i", "2i + 1"),
        ("0.\\overline{6}", "\\frac{2}{3}"),
        ("2\\tfrac12", "5/2"),
        ("1\\,000", "1000"),
        ("The answer is 3π.", "3\\pi"),
        ("The answer is 2x + 3.", "2x + 3"),
        ("So the answer is (3, 7).", "(3, 7)"),
        ("5 meters", "5"),
        ("\\boxed{5 cm}", "5"),
        ("\\sin \\pi", "0"),
        ("2^{100} - 2^{100} + 1", "1"),
        ("\\infty", "\\infty"),
    ] {
        assert!(same(reply, reference), "{reply} and {reference}");
    }
}

#[test]
fn different_answers_are_not_equivalent() {
    for (reply, reference) in [
        ("71", "72"),
        ("12345678901", "12345678902"),
        ("0.3333", "1/3"),
        ("(0, 1]", "[0, 1)"),
        ("\\{1, 2\\}", "\\{1, 2, 3\\}"),
        ("(2, 1)", "(1, 2)"),
        ("x^2 + 1", "x^2 + 2"),
        ("B", "C"),
        ("y = 5", "x = 5"),
        ("", "5"),
        ("I do not know.", "5"),
        ("\\sqrt{x^2}", "x"),
        ("inf", "5"),
        ("\\infty", "-\\infty"),
        ("5/0", "7/0"),
        ("3^{2000}", "2^{2000}"),
        ("\\infty", "10^{400}"),
        ("0", "\\frac{1}{2^{100}}"),
        ("9.1\\times 10^{-31}", "6.6\\times 10^{-34}"),
        ("0", "0.0000001"),
        ("2^{64}", "2^{64} - 1"),
        ("100! + 1", "100!"),
        ("The answer is 2x + 3.", "2"),
        ("The answer is 3√2.", "3"),
        ("ABC", "BAC"),
        ("0", "0.\\overline{6}"),
        ("1\\,000", "0"),
        ("[2, 10^{999})", "[2, \\infty)"),
    ] {
        assert!(!same(reply, reference), "{reply} and {reference}");
    }
}

#[test]
fn hostile_texts_are_compared_in_time() {
    let texts = [
        "(".repeat(50_000),
        "\\frac{".repeat(5_000),
        "{".repeat(3_000) + &"}".repeat(3_000),
        "\\boxed{".repeat(10_000),
        "$".repeat(100_000),
        "9^{9^{9^{9^{9}}}}".to_owned(),
        "9".repeat(100_000),
        "1+".repeat(1_900) + "1",
        "x".repeat(3_900),
        "\\sqrt{".repeat(600) + "x" + &"}".repeat(600),
        format!("\\{{{}\\}}", (0..900).map(|i| i.to_string()).collect::<Vec<_>>().join(", ")),
        "answer 1 ".repeat(10_000),
        "final answer is ".repeat(10_000),
        "= 1 ".repeat(30_000),
        "1 2 3 + 4 ".repeat(9_000),
        "\\pm 1 ".repeat(600),
        "|".repeat(3_999),
        "\u{0}\u{fffd}😀\\\u{301}".repeat(900),
        "-".repeat(3_999),
        "\\begin{pmatrix}".to_owned() + &"1 & 2 \\\\".repeat(400) + "\\end{pmatrix}",
        "170!!!!".to_owned(),
        "[1,".repeat(1_300),
        format!("\\boxed{{5{}}}", "!".repeat(3_900)),
        format!("\\boxed{{5{}}}", "%".repeat(3_900)),
        format!("$x = 5{}$", "/5".repeat(1_900)),
    ];
    // An endless loop, or an overflow of the two megabytes of a thread's stack, would fail here; the time is only printed.
    let mut worst = (Duration::ZERO, String::new());
    for a in &texts {
        for b in [a.as_str(), "5", "\\{1, 2, 3\\}"] {
            let clock = Instant::now();
            same(a, b);
            same(b, a);
            let took = clock.elapsed();
            if took > worst.0 {
                worst = (took, a.chars().take(40).collect());
            }
            assert!(took < Duration::from_secs(20), "{took:?} for {:?}", a.chars().take(40).collect::<String>());
        }
    }
    println!("the slowest pair of hostile texts, both ways round: {worst:?}");
}

#[test]
fn a_repeated_prompt_is_an_echo() {
    for (reply, prompt, reference, is_echo) in [
        ("\\boxed{(x+3)^2}", "Expand $(x+3)^2$.", "x^2+6x+9", true),
        ("\\boxed{\\frac{18}{24}}", "Simplify $\\frac{18}{24}$.", "\\frac{3}{4}", true),
        ("12*34", "What is 12*34?", "408", true),
        ("\\boxed{\\frac{3}{4}}", "Simplify $\\frac{18}{24}$.", "\\frac{3}{4}", false),
        ("x^2+6x+9", "Expand $(x+3)^2$.", "x^2 + 6x + 9", false),
        ("7", "Is it 5 or 7?", "7", false),
        ("1/3", "Which is smaller, 1/2 or 1/3?", "\\frac13", false),
    ] {
        assert_eq!(is_echo_of(reply, prompt, reference), is_echo, "{reply} to {prompt}");
    }
}

#[test]
fn random_texts_never_panic() {
    let pieces = [
        "\\frac",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "1",
        "2.5",
        ",",
        "x",
        "^",
        "_",
        "\\boxed",
        "$",
        "\\sqrt",
        "=",
        "<",
        "\\le",
        "|",
        "!",
        "%",
        "\\pm",
        "\\cup",
        "\\text{a}",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "&",
        "\\\\",
        " and ",
        "\\sin",
        "\\log_",
        "-",
        "+",
        ":",
        ";",
        "é",
        "\\infty",
        "\\left",
        "\\{",
        "\\}",
        "answer is ",
        "'",
        "/",
    ];
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..20_000 {
        let mut text = || (0..=next() % 14).map(|_| pieces[next() % pieces.len()]).collect::<String>();
        let (a, b) = (text(), text());
        same(&a, &b);
    }
}
