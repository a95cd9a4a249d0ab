//! The page's files.

use crate::client::get;
use crate::fixture::write_run;
use crate::serve;

/// The paths in quotes that begin with one of these beginnings.
fn quoted<'a>(text: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    text.split('"').filter(move |part| part.starts_with(begin))
}

fn is_script(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, kind)| kind == "js")
}

#[test]
fn everything_that_the_page_loads_is_served_and_nothing_else_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path());
    let server = serve(folder.path());
    let index = get(&server, "/");
    assert_eq!((index.status, index.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(!index.body.contains("<script>") && !index.body.contains("http"), "{}", index.body);
    let mut left: Vec<String> = quoted(&index.body, "/page/").map(str::to_owned).collect();
    let mut seen: Vec<String> = Vec::new();
    while let Some(path) = left.pop() {
        if seen.contains(&path) {
            continue;
        }
        let answer = get(&server, &path);
        assert_eq!(answer.status, 200, "{path}");
        if is_script(&path) {
            assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"), "{path}");
            left.extend(
                quoted(&answer.body, "./").filter(|name| is_script(name)).map(|name| format!("/page/{}", &name[2..])),
            );
        }
        // A text of a run must never become markup; uPlot gets only numbers and the page's own titles.
        let is_own = !path.contains("vendor");
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://"] {
            assert!(!is_own || !answer.body.contains(word), "{path} has `{word}`");
        }
        seen.push(path);
    }
    assert!(seen.len() >= 18, "the page loads only {seen:?}");
}
