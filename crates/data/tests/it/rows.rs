//! Files in the formats that people have.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use rlar_data::{
    Column, DataError, DataFile, DataFiles, DataRow, TextColumn, number_text, parquet, read_parquet_columns, read_rows,
    read_text_columns,
};
use serde_json::{Value, json};

fn read(name: &str, bytes: &[u8]) -> Result<Vec<DataRow>, String> {
    read_rows(Path::new(name), bytes).map_err(|e| e.to_string())
}

fn columns(name: &str, bytes: &[u8]) -> Vec<Value> {
    read(name, bytes).unwrap().into_iter().map(|row| Value::Object(row.columns)).collect()
}

#[test]
fn every_format_gives_the_same_rows() {
    let expected = vec![json!({"prompt": "a, \"b\"", "answer": "7"}), json!({"prompt": "c", "answer": "8"})];
    let lines = "{\"prompt\":\"a, \\\"b\\\"\",\"answer\":\"7\"}\n\n{\"prompt\":\"c\",\"answer\":\"8\"}\n";
    let list = format!("[{}\n]", lines.trim().replace("\n\n", ",\n"));
    let csv = "prompt,answer\n\"a, \"\"b\"\"\",7\nc,8\n";
    let tsv = "prompt\tanswer\n\"a, \"\"b\"\"\"\t7\nc\t8\n";
    let texts = |values: [&str; 2]| Column::Text(values.map(str::to_owned).into());
    let table = parquet(&[("prompt".into(), texts(["a, \"b\"", "c"])), ("answer".into(), texts(["7", "8"]))]).unwrap();
    let files: [(&str, &[u8]); 5] = [
        ("x.jsonl", lines.as_bytes()),
        ("x.json", list.as_bytes()),
        ("x.csv", csv.as_bytes()),
        ("x.tsv", tsv.as_bytes()),
        ("x.parquet", &table),
    ];
    for (name, bytes) in files {
        assert_eq!(columns(name, bytes), expected, "{name}");
        let mut zipped = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(bytes).unwrap();
        assert_eq!(columns(&format!("{name}.gz"), &zipped.finish().unwrap()), expected, "{name}.gz");
    }
}

#[test]
fn windows_files_are_read() {
    let rows = columns("x.jsonl", b"\xef\xbb\xbf{\"a\":1}\r\n\r\n{\"a\":2}\r\n");
    assert_eq!(rows, [json!({"a": 1}), json!({"a": 2})]);
    assert_eq!(columns("x.csv", b"\xef\xbb\xbfa,b\r\n1,\r\n"), [json!({"a": "1", "b": null})]);
    let utf16 = read("x.jsonl", &[0xff, 0xfe, b'{', 0]).unwrap_err();
    assert!(utf16.contains("UTF-16"), "{utf16}");
}

#[test]
fn numbers_keep_every_digit() {
    for literal in ["51090942171709440000", "1.00000000000000000001", "3.14159265358979323846", "0.1", "12"] {
        let row = &columns("x.jsonl", format!("{{\"deep\":[{{\"n\":{literal}}}]}}").as_bytes())[0];
        let shown = match &row["deep"][0]["n"] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number_text(number),
            other => panic!("{other}"),
        };
        assert_eq!(shown, literal);
    }
    for (number, text) in [
        (json!(1e20), "100000000000000000000"),
        (json!(1e-6), "0.000001"),
        (json!(-2.5e-7), "-0.00000025"),
        (json!(1.25e17), "125000000000000000"),
        (json!(1e300), "1e+300"),
        (json!(2.5), "2.5"),
    ] {
        assert_eq!(number_text(number.as_number().unwrap()), text);
    }
}

#[test]
fn damaged_files_are_named_in_one_line() {
    let table = parquet(&[("a".into(), Column::Whole((0..1000).collect()))]).unwrap();
    for cut in [20, table.len() / 2] {
        let error = read("x.parquet", &table[..cut]).unwrap_err();
        assert_eq!(error, "x.parquet: the Parquet file is cut short, fetch it again");
    }
    for at in (4..table.len() - 8).step_by(7) {
        let mut damaged = table.clone();
        damaged[at] ^= 0xff;
        if let Err(error) = read("x.parquet", &damaged) {
            assert!(error.starts_with("x.parquet: ") && error.lines().count() == 1, "{error}");
        }
    }
    assert!(read("x.csv", b"a,b\n1,2\n3\n").unwrap_err().starts_with("x.csv:3: the row has 1 values"));
    assert!(read("x.csv", b"a,a\n1,2\n").unwrap_err().contains("two columns are called `a`"));
    assert!(read("x.jsonl", b"{\"a\":NaN}").unwrap_err().starts_with("x.jsonl:1: not JSON"));
    assert!(read("x.json", b"[{\"a\":1},").unwrap_err().contains("cut short"));
    assert_eq!(read("x.csv", b"a,b\n").unwrap_err(), "x.csv: the data set is empty");
}

#[test]
fn some_columns_of_a_parquet_file_are_read_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let long = vec!["x".repeat(10_000); 1000];
    let table =
        parquet(&[("a".into(), Column::Whole((0..1000).collect())), ("long".into(), Column::Text(long))]).unwrap();
    // The texts compress to next to nothing.
    assert!(table.len() < 1 << 20);
    let read = |bytes: &[u8], max_bytes: usize, wanted: &str| {
        std::fs::write(&path, bytes).unwrap();
        read_parquet_columns(&path, max_bytes, |name| name == wanted).map_err(|e| e.to_string())
    };
    let rows = read(&table, 1 << 20, "a").unwrap();
    assert_eq!((rows.len(), Value::Object(rows[999].clone())), (1000, json!({"a": 999})));
    assert_eq!(read(&table, 1 << 25, "long").unwrap().len(), 1000);
    for (bytes, wanted, why) in [
        (&table[..], "long", "more than 1048576 bytes of memory"),
        (&table[..table.len() - 1], "a", "not a Parquet file"),
        (&table[..0], "a", "not a Parquet file"),
    ] {
        let error = read(bytes, 1 << 20, wanted).unwrap_err();
        assert!(error.contains("x.parquet: ") && error.contains(why), "{error}");
    }
}

#[test]
fn text_files_of_one_column_each_make_rows() {
    let column = |column: &str, text: &str| TextColumn {
        column: column.into(),
        file: DataFile { path: PathBuf::from(format!("{column}.txt")), bytes: text.into() },
    };
    let rows = read_text_columns(&[column("en", "a dog\na cat\n"), column("de", "ein Hund\neine Katze\n")]).unwrap();
    let row = Value::Object(rows[1].columns.clone());
    assert_eq!((row, rows[1].line), (json!({"en": "a cat", "de": "eine Katze"}), 2));
    let error = read_text_columns(&[column("en", "a\nb\n"), column("de", "c\n")]).unwrap_err().to_string();
    assert_eq!(error, "de.txt: 1 lines, but en.txt has 2; line i of each file makes row i");
}

#[test]
fn the_names_of_a_data_set_stand_for_rows_in_their_order() {
    let file = |path: &str, text: &str| DataFile { path: path.into(), bytes: text.into() };
    let find = |name: &str| -> Result<Vec<DataFile>, DataError> {
        Ok(match name {
            "*.jsonl" => vec![file("a.jsonl", "{\"n\":\"1\"}"), file("b.jsonl", "{\"n\":\"2\"}")],
            "c.csv" => vec![file("c.csv", "n\n3\n")],
            _ => vec![file("n.txt", "4\n5\n")],
        })
    };
    let values = |files: &DataFiles| -> Vec<Value> {
        files.rows(find).unwrap().iter().map(|row| row.columns["n"].clone()).collect()
    };
    let several = DataFiles::Several(vec!["c.csv".into(), "*.jsonl".into(), "c.csv".into()]);
    assert_eq!(values(&several), ["3", "1", "2", "3"]);
    assert_eq!(several.names(), ["c.csv", "*.jsonl", "c.csv"]);
    assert_eq!(values(&"*.jsonl".into()), ["1", "2"]);
    let column = |name: &str| DataFiles::Columns([("n".to_owned(), name.to_owned())].into());
    assert_eq!(values(&column("n.txt")), ["4", "5"]);
    let error = column("*.jsonl").rows(find).unwrap_err().to_string();
    assert_eq!(error, "*.jsonl: stands for 2 files; the column `n` needs one");
}
