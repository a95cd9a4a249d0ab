//! Which texts are taken for runaway repetition.

use rlar_net::llm::{Repetition, runaway_repetition};

#[test]
fn a_repetition_is_found_with_its_beginning_and_its_unit() {
    let begin = "The answer is ";
    for unit in ["no. ", "I cannot say that. ", "ha", "- item\n", "größer ", "是的", "\\n"] {
        let text = begin.to_owned() + &unit.repeat(1500 / unit.len());
        let found = runaway_repetition(&text).unwrap();
        assert_eq!(found.unit, unit.len(), "{unit:?}");
        let kept = &text[..found.begin + found.unit];
        // The repetition may begin a little earlier, where the text before it ends like the unit.
        assert!(kept.starts_with(begin.trim_end()) && kept.len() <= begin.len() + unit.len(), "{kept:?}");
    }
    let paragraph =
        "Step 1: add the numbers. Step 2: compare the sum with the reference. Step 3: say which is larger.\n";
    assert_eq!(
        runaway_repetition(&paragraph.repeat(9)),
        Some(Repetition { begin: 0, unit: paragraph.len() }),
        "a paragraph"
    );
    assert!(runaway_repetition(&format!("{{\"score\": 1{}", " ".repeat(500))).is_some(), "white space");
    assert!(runaway_repetition(&"0".repeat(3000)).is_some(), "digits");
}

#[test]
fn ordinary_texts_do_not_repeat_themselves_without_end() {
    let lines = |line: &dyn Fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>();
    let table = lines(&|n| format!("| {n} | {} | yes | no |\n", n * n), 40);
    let rows = lines(&|n| format!("    assert add({n}, {n}) == {}\n", 2 * n), 60);
    let list = lines(&|n| format!("{n}. the number {n}\n"), 100);
    let board = format!("board = [\n{}]\n", format!("    [{}],\n", ["0"; 20].join(", ")).repeat(20));
    let empty = format!("grid = [\n{}]\n", format!("    [{}],\n", ["None"; 9].join(", ")).repeat(9));
    let hex = lines(&|n| format!("0x{n:02x}, "), 300);
    let texts = [
        String::new(),
        "yes".into(),
        "no ".repeat(20),
        "=".repeat(120),
        format!("|{}\n", "---|".repeat(30)),
        format!("zeros = [{}]", ["0"; 300].join(", ")),
        format!("{}return x\n", " ".repeat(64)),
        "</div>\n".repeat(12),
        table,
        rows,
        list,
        board,
        empty,
        hex,
        include_str!("../../src/llm/repetition.rs").into(),
        include_str!("../../../../docs/explanation/agents.md").into(),
        include_str!("../../../../docs/reference/config.md").into(),
    ];
    for text in texts {
        // Not at the end of the text, and not while it grows either.
        let ends = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).step_by(16).chain([text.len()]);
        for end in ends {
            assert_eq!(runaway_repetition(&text[..end]), None, "{}", &text[..end]);
        }
    }
}

#[test]
fn a_repetition_that_has_ended_is_not_runaway() {
    let text = "the same ".repeat(300) + "but then it goes on in another way";
    assert_eq!(runaway_repetition(&text), None);
}
