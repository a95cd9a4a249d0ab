//! A strict reader of the markup that reports consist of: it accepts nothing but balanced elements of known names whose
//! attributes are quoted.

/// The elements of the page.
const ELEMENTS: &str = "html head meta title style body header h1 h2 h3 h4 p nav ul li a main section div table caption \
    thead tbody tr th td code pre strong span details summary dl dt dd figure figcaption svg desc rect line text \
    path polygon circle";

/// An element's start tag.
pub struct StartTag {
    pub name: String,
    /// Names of its attributes with their values, in which references are not replaced.
    pub attributes: Vec<(String, String)>,
}

/// The start tags of a page or an SVG file, in order. Panics where it is not well formed, or has an element of another name.
pub fn start_tags(markup: &str) -> Vec<StartTag> {
    let mut tags = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut rest = markup.strip_prefix("<!DOCTYPE html>").unwrap_or(markup);
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find('>').expect("a tag has an end");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "elements are balanced");
            continue;
        }
        let (name, attributes) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
        assert!(ELEMENTS.split_whitespace().any(|known| known == name), "`{name}` is no element of a report: {tag}");
        if name != "meta" {
            open.push(name.to_owned());
        }
        tags.push(StartTag { name: name.to_owned(), attributes: read_attributes(attributes) });
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    tags
}

fn read_attributes(mut text: &str) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let name = name.trim();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "an attribute's name: {name}");
        let (value, rest) = rest.split_once('"').expect("a value has an end");
        attributes.push((name.to_owned(), value.to_owned()));
        text = rest;
    }
    assert_eq!(text.trim(), "", "nothing but attributes is in a tag");
    attributes
}

/// The text of markup without its tags, with references replaced.
pub fn text_of(markup: &str) -> String {
    let mut text = String::new();
    for part in markup.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}
