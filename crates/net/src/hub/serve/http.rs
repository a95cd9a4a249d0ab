//! As much of HTTP/1.1 (RFC 9112) as reading files takes: GET and HEAD, without bodies.

use std::fmt::{self, Write as _};
use std::io::{self, Read as _, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::Url;

/// The longest head of a request, in bytes.
const LONGEST: usize = 16 << 10;

/// The longest wait for a request on an open connection.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest wait for room to send.
const STUCK: Duration = Duration::from_mins(1);

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path as it was sent, with its escapes.
    pub target: String,
    /// The path's parts, without escapes.
    pub path: Vec<String>,
    /// The query's names and values, in order, without escapes.
    pub query: Vec<(String, String)>,
    /// The headers' names, in lower case, and values.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The values of a name in the query.
    pub fn queries<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The value of a name in the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether the connection may serve another request.
    pub(crate) fn stays_open(&self) -> bool {
        !self.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"))
    }
}

/// An answer.
pub struct Response {
    /// The status, such as 200.
    pub status: u16,
    /// Headers beyond those that say where the body ends.
    pub headers: Vec<(String, String)>,
    /// The announced length of the body in bytes; without one, the body ends with the connection.
    pub length: Option<u64>,
    /// The body; the connection is closed if it is shorter than announced.
    pub body: Box<dyn io::Read + Send>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Response");
        shown.field("status", &self.status).field("headers", &self.headers).field("length", &self.length);
        shown.finish_non_exhaustive()
    }
}

impl Response {
    /// An answer of some bytes.
    pub fn new(status: u16, body: Vec<u8>) -> Self {
        let length = Some(body.len() as u64);
        Self { status, headers: Vec::new(), length, body: Box::new(io::Cursor::new(body)) }
    }

    /// An answer of a text.
    pub fn text(status: u16, body: &str) -> Self {
        Self::new(status, body.into()).with("content-type", "text/plain; charset=utf-8")
    }

    /// An answer in JSON.
    pub fn json(body: &serde_json::Value) -> Self {
        Self::new(200, body.to_string().into_bytes()).with("content-type", "application/json; charset=utf-8")
    }

    /// An answer with another header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// What came.
pub(crate) enum Read {
    /// A request.
    Request(Request),
    /// The end.
    Closed,
    /// Something that is no request, the status for it and why.
    Wrong(u16, &'static str),
}

/// Sets a connection's patience.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(STUCK))
}

/// Reads the head of a request; `unread` has what came after the one before.
pub(crate) fn read(mut stream: &TcpStream, unread: &mut Vec<u8>) -> io::Result<Read> {
    let began = Instant::now();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = unread.windows(4).position(|w| w == b"\r\n\r\n") {
            let head: Vec<u8> = unread.drain(..end + 4).collect();
            return Ok(std::str::from_utf8(&head).map_or(Read::Wrong(400, "the request is not text"), parse));
        }
        if unread.len() > LONGEST {
            return Ok(Read::Wrong(431, "the request's head is too long"));
        }
        let left = PATIENCE.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(Read::Closed);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(Read::Closed),
            Ok(n) => unread.extend_from_slice(&piece[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(Read::Closed);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn parse(head: &str) -> Read {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return Read::Wrong(400, "this is not an HTTP/1.1 request");
    };
    if !matches!(method, "GET" | "HEAD") {
        return Read::Wrong(405, "this server only reads: GET and HEAD");
    }
    let headers = lines
        .take_while(|l| !l.is_empty())
        .map(|line| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())));
    let Some(headers) = headers.collect::<Option<Vec<_>>>() else {
        return Read::Wrong(400, "a header has no colon");
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts = path.strip_prefix('/').map(|p| p.split('/').map(unescaped).collect::<Option<Vec<_>>>());
    // The parser of addresses also reads queries; what it makes of a path is of no use here, as it resolves `..`.
    let parsed = Url::parse(&format!("http://localhost/?{query}"));
    let (Some(Some(path)), Ok(parsed)) = (parts, parsed) else {
        return Read::Wrong(400, "this is not a path");
    };
    let query = parsed.query_pairs().into_owned().collect();
    Read::Request(Request { method: method.into(), target: target.into(), path, query, headers })
}

/// A part of a path without its escapes; nothing if they are wrong or no text.
fn unescaped(part: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = part.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        rest = more;
        if first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Sends an answer; gives whether the connection can serve another request.
pub(crate) fn write(mut stream: &TcpStream, response: Response, is_head: bool, stays: bool) -> io::Result<bool> {
    let Response { status, headers, length, body } = response;
    let stays = stays && length.is_some();
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in &headers {
        // A line break in a value would begin a header of its own.
        let _ = write!(head, "{name}: {}\r\n", value.replace(['\r', '\n'], " "));
    }
    if let Some(length) = length {
        let _ = write!(head, "content-length: {length}\r\n");
    }
    head.push_str(if stays { "connection: keep-alive\r\n\r\n" } else { "connection: close\r\n\r\n" });
    stream.write_all(head.as_bytes())?;
    if is_head {
        return Ok(stays);
    }
    let sent = io::copy(&mut body.take(length.unwrap_or(u64::MAX)), &mut stream)?;
    Ok(stays && Some(sent) == length)
}

fn reason(status: u16) -> &'static str {
    reqwest::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unknown")
}
