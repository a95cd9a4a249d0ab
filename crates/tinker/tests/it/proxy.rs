//! A proxy on loopback that spoils chosen requests.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not reach the server; the connection is closed.
    DropRequest,
    /// The server answers; the connection is closed before the answer.
    DropAnswer,
    /// The server answers; the connection is closed in the middle of the answer.
    CutAnswer,
    /// The answer arrives as a complete HTTP message with half of its body.
    HalveBody,
    /// The server answers; the client hears nothing until it gives up.
    HoldAnswer,
    /// The server answers; the connection is closed before the answer, and the next request finds a gateway without a server.
    DropAnswerThenUnknown,
}

pub struct Proxy {
    pub address: SocketAddr,
}

impl Proxy {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Starts a proxy that applies `fault` to the request with the number `at`, from 0; heartbeats do not count.
pub async fn start(upstream: SocketAddr, at: usize, fault: Fault) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(Mutex::new(0));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let _ = relay(client, upstream, &count, at, fault).await;
            });
        }
    });
    Proxy { address }
}

/// Relays the requests of one connection, one after the other.
async fn relay(
    mut client: TcpStream,
    upstream: SocketAddr,
    count: &Mutex<usize>,
    at: usize,
    fault: Fault,
) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    loop {
        let Some(request) = message(&mut client).await? else { return Ok(()) };
        let is_heartbeat = String::from_utf8_lossy(&request).lines().next().is_some_and(|l| l.contains("heartbeat"));
        let number = if is_heartbeat {
            None
        } else {
            let mut count = count.lock().unwrap();
            *count += 1;
            Some(*count - 1)
        };
        let is_spoilt = number == Some(at);
        if fault == Fault::DropAnswerThenUnknown && number == Some(at + 1) {
            return client.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        }
        if is_spoilt && fault == Fault::DropRequest {
            return Ok(());
        }
        server.write_all(&request).await?;
        let Some(answer) = message(&mut server).await? else { return Ok(()) };
        match fault {
            Fault::DropAnswer | Fault::DropAnswerThenUnknown if is_spoilt => return Ok(()),
            Fault::CutAnswer if is_spoilt => return client.write_all(&answer[..answer.len() - 3]).await,
            Fault::HalveBody if is_spoilt => client.write_all(&with_half_of_the_body(&answer)).await?,
            Fault::HoldAnswer if is_spoilt => {
                let mut rest = Vec::new();
                client.read_to_end(&mut rest).await?;
                return Ok(());
            }
            _ => client.write_all(&answer).await?,
        }
    }
}

/// Reads one HTTP message with its head; `None` if the connection ends before it.
async fn message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(head) = head_length(&bytes)
            && bytes.len() >= head + content_length(&bytes[..head])
        {
            return Ok(Some(bytes));
        }
        match stream.read(&mut chunk).await? {
            0 => return Ok(None),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:").map(str::trim).map(str::to_owned));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn with_half_of_the_body(answer: &[u8]) -> Vec<u8> {
    let head = head_length(answer).unwrap();
    let body = &answer[head..];
    let half = &body[..body.len() / 2];
    let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
    let kind = text.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
    let text = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", half.len());
    [text.as_bytes(), half].concat()
}
