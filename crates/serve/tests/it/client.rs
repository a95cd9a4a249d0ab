//! A small HTTP client, which sends exactly what a test writes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rlar_serve::RewardServer;
use serde_json::Value;

/// Longest wait for anything: a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// An answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub status: u16,
    /// The head, from the status line on.
    pub head: String,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}{}", self.head, self.text()))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The code of an error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A client of a server; every request has its own connection.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    /// Further headers of all requests, each with its line end.
    pub headers: String,
}

impl Client {
    pub fn of(server: &RewardServer) -> Self {
        Self { address: server.address(), headers: String::new() }
    }

    /// The same client with a further header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        Self { headers: format!("{}{name}: {value}\r\n", self.headers), ..self.clone() }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> HttpAnswer {
        self.send(&self.head("GET", path, ""))
    }

    pub fn post(&self, path: &str, body: &Value) -> HttpAnswer {
        self.post_text(path, &body.to_string())
    }

    pub fn post_text(&self, path: &str, body: &str) -> HttpAnswer {
        self.send(&self.posted(path, body))
    }

    /// The bytes of a request with a JSON body.
    pub fn posted(&self, path: &str, body: &str) -> String {
        let more = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        self.head("POST", path, &more) + body
    }

    /// The head of a request, with its empty line.
    pub fn head(&self, method: &str, path: &str, more: &str) -> String {
        let (host, headers) = (self.address, &self.headers);
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}{more}\r\n")
    }

    /// Sends bytes on a connection of their own, and reads the answer.
    pub fn send(&self, request: &str) -> HttpAnswer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        read(&mut stream)
    }

    /// Sends bytes, closes the sending half of the connection, and reads the answer.
    pub fn send_and_half_close(&self, request: &str) -> HttpAnswer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read(&mut stream)
    }
}

/// Reads an answer until the server closes the connection.
pub fn read(stream: &mut TcpStream) -> HttpAnswer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            // The server may close a connection whose request it has not read to the end.
            Err(_) if !bytes.is_empty() => break,
            Err(e) => panic!("no answer: {e}"),
        }
    }
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default();
    HttpAnswer { status, head, body: bytes.get(end + 4..).unwrap_or_default().to_vec() }
}
