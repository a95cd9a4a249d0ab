//! Every wrong input is reported with file, line and column, and with what to do.

use std::path::Path;

use rlar_eval::readers::read_benchmark;
use rlar_eval::reward_bench_2::SUBSETS;
use rlar_eval::routing::ScoreTable;
use rlar_eval::{Benchmark, BenchmarkScores};

use crate::{scored, text};

const GOOD: &str = r#"{"id":"1","prompt":"p","chosen":["a"],"rejected":["b"],"num_correct":1,"subset":"Math"}"#;

fn error(file: &str, content: &str) -> String {
    text(file, content).unwrap_err().to_string()
}

#[test]
fn rows_of_a_benchmark() {
    let row = |old: &str, new: &str| {
        error("x.jsonl", &format!("{GOOD}\n{}", GOOD.replace(old, new).replace("\"1\"", "\"2\"")))
    };
    assert!(
        row("\"chosen\":[\"a\"],", "")
            .starts_with("x.jsonl:2: the column `chosen` is missing; the row has: id, prompt")
    );
    assert_eq!(row("[\"a\"]", "7"), "x.jsonl:2: the column `chosen` must be a list of texts, not a number");
    assert_eq!(row("[\"a\"]", "[7]"), "x.jsonl:2: the column `chosen` must be a list of texts, not one with a number");
    assert_eq!(row("[\"b\"]", "[]"), "x.jsonl:2: the column `rejected` must be a list of texts, not an empty list");
    assert_eq!(row("correct\":1", "correct\":3"), "x.jsonl:2: `num_correct` is 3 but the row holds 1");
    assert_eq!(row("Math", "Maths"), format!("x.jsonl:2: subset `Maths` is not one of: {}", SUBSETS.join(", ")));
    assert!(row("Math", "Ties").contains("id `2` in Ties must be `ref:N` or `tied:N`"));
    assert!(row("[\"a\"]", "[\"a\",\"c\"]").contains("`num_correct` is 1 but the row holds 2"));
    assert_eq!(error("x.jsonl", &format!("{GOOD}\n{GOOD}")), "x.jsonl:2: id `1` occurs in line 1 too");
    assert_eq!(error("x.jsonl", ""), "x.jsonl: the data set is empty");
    assert!(error("x.jsonl", &GOOD[..40]).starts_with("x.jsonl:1: not JSON: EOF while parsing"));
    assert!(error("x.jsonl", "{\"a\":1}").contains("no known benchmark has these columns"));
    let gzip = read_benchmark(Path::new("x.gz"), &[0x1f, 0x8b, 8, 0xff]).unwrap_err().to_string();
    assert!(gzip.ends_with("fetch it again"), "{gzip}");
}

#[test]
fn rows_of_a_list_have_lines_too() {
    let row = "{\n\"input\":\"i\",\"output_1\":\"a\",\n\"output_2\":\"b\",\"label\":1}";
    let list = format!("[\n{row},\n{row}\n]");
    assert_eq!(text("Natural.json", &list).unwrap().items[1].id, "5");
    let wrong = list.replacen("\"label\":1", "\"label\":3", 2).replacen("\"label\":3", "\"label\":1", 1);
    assert_eq!(
        error("Natural.json", &wrong),
        "Natural.json:5: `label` must be 1 or 2, the number of the better output"
    );
    let cut = error("Natural.json", &list[..list.len() - 9]);
    assert!(
        cut.starts_with("Natural.json:7: ") && cut.ends_with("the file is cut short, fetch or write it again"),
        "{cut}"
    );
    let styles = "[{\"id\":1,\"prompt\":\"p\",\"chosen\":[\"a\",\"b\",\"c\"],\"rejected\":[\"d\",\"e\",\"f\"]}]";
    assert_eq!(text("chat_filtered.json", styles).unwrap().items[0].category, "chat");
    assert!(error("rows.json", styles).starts_with("rows.json:1: `rows` is not a domain; add a column `domain`"));
}

#[test]
fn a_parquet_file_that_is_cut_anywhere_is_an_error() {
    let whole = include_bytes!("../fixtures/rewardbench2.parquet");
    let path = Path::new("r.parquet");
    for end in (4..whole.len()).step_by(7) {
        let error = read_benchmark(path, &whole[..end]).unwrap_err().to_string();
        assert!(error.starts_with("r.parquet: "), "{error}");
    }
    // A damaged byte may still be a file, but never a panic.
    for i in (0..whole.len()).step_by(3) {
        let mut damaged = whole.to_vec();
        damaged[i] ^= 0x55;
        if let Err(error) = read_benchmark(path, &damaged) {
            assert!(error.to_string().starts_with("r.parquet"), "{error}");
        }
    }
    // A footer that promises what the file does not hold.
    let mut wrong = whole[..200].to_vec();
    wrong.extend(&whole[whole.len() - 8..]);
    assert!(read_benchmark(path, &wrong).unwrap_err().to_string().starts_with("r.parquet: not a Parquet file"));
}

fn two() -> Benchmark {
    text("x.jsonl", &format!("{GOOD}\n{}", GOOD.replace("\"1\"", "\"2\""))).unwrap()
}

#[test]
fn files_of_scores() {
    let benchmark = two();
    let error =
        |text: &str| BenchmarkScores::read(Path::new("s.jsonl"), text.as_bytes(), &benchmark).unwrap_err().to_string();
    let one = "{\"id\":\"1\",\"scores\":[1,0]}\n";
    assert!(error(&format!("{one}{{\"id\":\"2\",\"scores\":[1,NaN]}}")).starts_with("s.jsonl:2: not JSON"));
    for no_number in ["NaN", "Infinity", "-Infinity"] {
        let error = error(&format!("{one}{{\"id\":\"2\",\"scores\":[1,{no_number}]}}"));
        assert!(
            error.ends_with("NaN and Infinity are not scores: write null for a completion without a score"),
            "{error}"
        );
        assert!(error.starts_with("s.jsonl:2: "), "{error}");
    }
    assert!(
        error(&format!("{one}{{\"id\":\"2\",\"scores\":[1,\"x\"]}}"))
            .contains(":2: `scores` holds \"x\", which is not a number")
    );
    assert!(error(one).contains("s.jsonl: s has no scores of 1 of 2 items, such as `2`; write `\"scores\": null`"));
    assert!(error(&format!("{one}{one}")).starts_with("s.jsonl:2: id `1` occurs in line 1 too"));
    assert!(
        error(&format!("{one}{{\"id\":\"3\",\"scores\":[1,0]}}"))
            .starts_with("s.jsonl:2: id `3` is not in the benchmark")
    );
    assert!(
        error(&format!("{one}{{\"id\":\"2\",\"scores\":[1]}}")).contains(":2: id `2` (s): 1 scores for 2 completions")
    );
    assert!(error(&format!("{one}{{\"id\":\"2\"}}")).contains("s.jsonl:2: the column `scores` is missing"));
    assert!(error(&format!("{one}{{\"scores\":[1,0]}}")).contains(":2: the column `id` is missing"));
    assert!(error(&format!("{one}{{\"id\":\"2\",\"sco")).starts_with("s.jsonl:2: not JSON: EOF"));
    let null = format!("{one}{{\"id\":\"2\",\"scores\":[1,null]}}");
    let read = BenchmarkScores::read(Path::new("s.jsonl"), null.as_bytes(), &benchmark).unwrap();
    assert_eq!(read[0].failed(), 1);
}

#[test]
fn files_of_the_reference() {
    let benchmark = two();
    let error =
        |text: &str| BenchmarkScores::read(Path::new("m.json"), text.as_bytes(), &benchmark).unwrap_err().to_string();
    assert_eq!(error(r#"{"id":["1","2"],"scores":[[1,0]]}"#), "m.json: `id` holds 2 entries and `scores` 1");
    assert_eq!(error(r#"{"id":["1","2"]}"#), "m.json: the column `scores` is missing or not a list");
    assert!(
        error(r#"{"id":["1","2"],"scores":[[1,0],["a",0]]}"#).starts_with("m.json: entry 2 (id `2`): `scores` holds")
    );
    let nan = error("{\n    \"id\": [\"1\", \"2\"],\n    \"scores\": [[1, 0], [NaN, 0]]\n}");
    assert!(nan.starts_with("m.json:3: ") && nan.ends_with("write null for a completion without a score"), "{nan}");
    let cut = error("{\n    \"id\": [\"1\", \"2\"],\n    \"scores\": [[1, 0],");
    assert!(cut.starts_with("m.json:3: ") && cut.ends_with("the file is cut short, fetch or write it again"), "{cut}");
}

#[test]
fn scores_in_memory() {
    let benchmark = two();
    let error = |rows| BenchmarkScores::new("t", &benchmark, rows).unwrap_err().to_string();
    assert_eq!(error(vec![None]), "t scored 1 items of 2");
    assert!(error(vec![None, Some(vec![f64::NAN, 1.0])]).starts_with("t on `2` of Math: NaN is not a score"));
    let t = [scored("t", &benchmark, |_, c| c as f64)];
    let error = ScoreTable::new(&benchmark, &t).err().unwrap().to_string();
    assert!(error.contains("routing compares at least two tools"));
    let other = text("p.jsonl", "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\"}").unwrap();
    let error = Benchmark::join([two(), other]).unwrap_err().to_string();
    assert_eq!(error, "files of RewardBench 2 and of pairs cannot be one benchmark");
    assert!(Benchmark::join([two(), two()]).unwrap_err().to_string().contains("id `1` occurs twice in `Math`"));
}
