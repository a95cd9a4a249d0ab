//! A small HTTP client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rlar_view::ViewServer;
use serde_json::Value;

/// Longest wait for anything: a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// An answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub status: u16,
    /// The head, from the status line on.
    pub head: String,
    pub body: String,
}

impl HttpAnswer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}{}", self.head, self.body))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Asserts that the answer is an error with this status and code, whose message has these words.
    #[track_caller]
    pub fn is_refused(&self, status: u16, code: &str, words: &[&str]) {
        assert_eq!(self.status, status, "{}", self.body);
        let error = &self.json()["error"];
        assert_eq!(error["code"], code, "{error}");
        for word in words {
            assert!(error["message"].as_str().unwrap().contains(word), "{error} does not mention `{word}`");
        }
    }
}

/// A query parameter.
pub struct Asked<'a> {
    pub name: &'a str,
    pub value: &'a str,
}

/// Makes a query parameter.
pub fn asked<'a>(name: &'a str, value: &'a str) -> Asked<'a> {
    Asked { name, value }
}

/// The answer to a question of the API.
pub fn ask(server: &ViewServer, path: &str, parameters: &[Asked]) -> HttpAnswer {
    let query: Vec<String> = parameters.iter().map(|p| format!("{}={}", p.name, encoded(p.value))).collect();
    get(server, &format!("/api/{path}?{}", query.join("&")))
}

/// The JSON of an answer with status 200.
#[track_caller]
pub fn found(server: &ViewServer, path: &str, parameters: &[Asked]) -> Value {
    let answer = ask(server, path, parameters);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

pub fn get(server: &ViewServer, target: &str) -> HttpAnswer {
    send(server.address(), &format!("GET {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.address()))
}

/// Sends a request on a connection of its own, and reads the answer.
pub fn send(address: SocketAddr, request: &str) -> HttpAnswer {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    HttpAnswer { status, head: head.to_owned(), body: body.to_owned() }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads from a connection until what was read contains a text.
pub fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    while !text.contains(wanted) {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the connection ended after `{text}`");
        text += &String::from_utf8_lossy(&buffer[..read]);
    }
    text
}

/// A text as it stands in a query.
fn encoded(text: &str) -> String {
    let encoded = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(encoded).collect()
}
