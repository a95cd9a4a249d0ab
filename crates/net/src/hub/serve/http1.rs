//! The part of HTTP/1.1 (RFC 9112) that a read-only server needs: GET and HEAD requests without bodies.

use std::fmt::{self, Write as _};
use std::io::{self, Read as _, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::Url;

/// Maximum size of the head of a request (the request line and the headers), in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Maximum wait for a complete request on an open connection; after it, the connection is closed.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Maximum wait until the client takes more bytes of a response; after it, the connection is closed.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);

/// A request that the server received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method of the request: `GET` or `HEAD`.
    pub method: String,
    /// The path and query exactly as the client sent them, with percent escapes.
    pub target: String,
    /// The parts of the path between slashes, with percent escapes decoded.
    pub path: Vec<String>,
    /// The names and values of the query parameters, decoded, in the order of the request.
    pub query: Vec<(String, String)>,
    /// The headers as pairs of a name in lower case and a value.
    pub headers: Vec<(String, String)>,
}

impl HttpRequest {
    /// The value of the header with this name, in any case; `None` if the request has no such header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All values of the query parameter with this name.
    pub fn queries<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value of the query parameter with this name; `None` if the request has no such parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether the client allows further requests on the connection (no `Connection: close`).
    pub(crate) fn keeps_alive(&self) -> bool {
        !self.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"))
    }
}

/// A response that the server sends.
pub struct HttpResponse {
    /// The status code of the response, such as 200.
    pub status: u16,
    /// The headers as names and values. The server adds `content-length` and `connection` itself.
    pub headers: Vec<(String, String)>,
    /// The length of the body in bytes, sent as `content-length`. With `None`, the end of the connection ends the body.
    pub length: Option<u64>,
    /// The body. If the body is shorter than `length`, the connection is closed after it.
    pub body: Box<dyn io::Read + Send>,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HttpResponse");
        shown.field("status", &self.status).field("headers", &self.headers).field("length", &self.length);
        shown.finish_non_exhaustive()
    }
}

impl HttpResponse {
    /// A response whose body consists of these bytes.
    pub fn new(status: u16, body: Vec<u8>) -> Self {
        let length = Some(body.len() as u64);
        Self { status, headers: Vec::new(), length, body: Box::new(io::Cursor::new(body)) }
    }

    /// A response whose body is plain text.
    pub fn text(status: u16, body: &str) -> Self {
        Self::new(status, body.into()).with("content-type", "text/plain; charset=utf-8")
    }

    /// A response with status 200 whose body is JSON.
    pub fn json(body: &serde_json::Value) -> Self {
        Self::new(200, body.to_string().into_bytes()).with("content-type", "application/json; charset=utf-8")
    }

    /// Adds a header to the response.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// The result of waiting for the next request on a connection, which [`read`] returns.
pub(crate) enum Incoming {
    /// The client sent a request.
    Request(HttpRequest),
    /// The client closed the connection, or sent no complete request for too long.
    Closed,
    /// The client sent an invalid request, which gets a response with this status and message.
    Invalid { status: u16, message: &'static str },
}

impl Incoming {
    fn invalid(status: u16, message: &'static str) -> Self {
        Self::Invalid { status, message }
    }
}

/// Sets the options of a connection: small responses are sent at once, and a write waits only for a limited time.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))
}

/// Reads the head of the next request. `unread` keeps the bytes that follow the head for the next call.
pub(crate) fn read(mut stream: &TcpStream, unread: &mut Vec<u8>) -> io::Result<Incoming> {
    let began = Instant::now();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = unread.windows(4).position(|w| w == b"\r\n\r\n") {
            let head: Vec<u8> = unread.drain(..end + 4).collect();
            return Ok(std::str::from_utf8(&head).map_or(Incoming::invalid(400, "the request is not text"), parse));
        }
        if unread.len() > MAX_HEAD_BYTES {
            return Ok(Incoming::invalid(431, "the request's head is too long"));
        }
        let left = READ_TIMEOUT.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(Incoming::Closed);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(Incoming::Closed),
            Ok(n) => unread.extend_from_slice(&buffer[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(Incoming::Closed);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Parses the head of a request: the request line and the headers.
fn parse(head: &str) -> Incoming {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return Incoming::invalid(400, "this is not an HTTP/1.1 request");
    };
    if !matches!(method, "GET" | "HEAD") {
        return Incoming::invalid(405, "this server accepts only GET and HEAD");
    }
    let headers = lines
        .take_while(|l| !l.is_empty())
        .map(|line| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())));
    let Some(headers) = headers.collect::<Option<Vec<_>>>() else {
        return Incoming::invalid(400, "a header has no colon");
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts = path.strip_prefix('/').map(|p| p.split('/').map(percent_decoded).collect::<Option<Vec<_>>>());
    // Only the query is parsed by `Url`, which would resolve `..` in a path.
    let parsed = Url::parse(&format!("http://localhost/?{query}"));
    let (Some(Some(path)), Ok(parsed)) = (parts, parsed) else {
        return Incoming::invalid(400, "the request's path is invalid");
    };
    let query = parsed.query_pairs().into_owned().collect();
    Incoming::Request(HttpRequest { method: method.into(), target: target.into(), path, query, headers })
}

/// Decodes the percent escapes in one part of a path; `None` if an escape is invalid or the result is not UTF-8.
fn percent_decoded(part: &str) -> Option<String> {
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

/// Sends a response, or only the head of the response if `is_head`. `keep_alive` says whether the client allows further
/// requests on the connection. Returns whether the connection can serve another request.
pub(crate) fn write(
    mut stream: &TcpStream,
    response: HttpResponse,
    is_head: bool,
    keep_alive: bool,
) -> io::Result<bool> {
    let HttpResponse { status, headers, length, body } = response;
    let keep_alive = keep_alive && length.is_some();
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in &headers {
        // Line breaks become spaces, because a line break in a value would begin another header.
        let _ = write!(head, "{name}: {}\r\n", value.replace(['\r', '\n'], " "));
    }
    if let Some(length) = length {
        let _ = write!(head, "content-length: {length}\r\n");
    }
    head.push_str(if keep_alive { "connection: keep-alive\r\n\r\n" } else { "connection: close\r\n\r\n" });
    stream.write_all(head.as_bytes())?;
    if is_head {
        return Ok(keep_alive);
    }
    let sent = io::copy(&mut body.take(length.unwrap_or(u64::MAX)), &mut stream)?;
    Ok(keep_alive && Some(sent) == length)
}

/// The standard phrase for a status code, such as `Not Found` for 404.
fn reason(status: u16) -> &'static str {
    reqwest::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unknown")
}
