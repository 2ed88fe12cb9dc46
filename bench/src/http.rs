//! As much of HTTP/1.1 as the ends here speak: whole messages, with a `content-length` or in chunks. A real client would take more
//! of the two cores than the agent that is measured.
use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// No message here is longer.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// A connection with what was read too much.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A message as it came.
#[derive(Debug)]
pub struct Message {
    /// The first line and the headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// The status of a response; 0 of what is none.
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

impl Connection {
    /// Takes over what was accepted.
    pub fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Connects to a server, from which nothing for `timeout` is an error.
    pub fn to(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        Self::of(stream)
    }

    /// Sends a request and reads its response.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<Message> {
        self.send(request)?;
        self.receive()?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// Sends a message.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message)
    }

    /// Reads a message; none where the other side has closed before one began.
    pub fn receive(&mut self) -> io::Result<Option<Message>> {
        let mut searched = 0;
        let end = loop {
            let from = usize::max(searched, 3) - 3;
            if let Some(at) = self.buffer[from..].windows(4).position(|window| window == b"\r\n\r\n") {
                break from + at + 4;
            }
            searched = self.buffer.len();
            if self.read_more()? == 0 {
                return if searched == 0 { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        if is_chunked(&head) {
            self.buffer.drain(..end);
            return Ok(Some(Message { head, body: self.receive_chunks()? }));
        }
        let length = content_length(&head)?;
        while self.buffer.len() < end + length {
            if self.read_more()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let body = self.buffer[end..end + length].to_vec();
        self.buffer.drain(..end + length);
        Ok(Some(Message { head, body }))
    }

    /// A body of which each part says how long it is; the last one is empty.
    fn receive_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match self.buffer.windows(2).position(|window| window == b"\r\n") {
                    Some(end) => break end,
                    None if self.read_more()? == 0 => return Err(ErrorKind::UnexpectedEof.into()),
                    None => {}
                }
            };
            let length = std::str::from_utf8(&self.buffer[..end]).ok();
            let length =
                length.and_then(|text| usize::from_str_radix(text.split(';').next()?.trim(), 16).ok());
            let length = length
                .filter(|length| body.len() + length <= MAX_MESSAGE_BYTES)
                .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "not a chunk"))?;
            let whole = end + 2 + length + 2;
            while self.buffer.len() < whole {
                if self.read_more()? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            body.extend_from_slice(&self.buffer[end + 2..end + 2 + length]);
            self.buffer.drain(..whole);
            if length == 0 {
                return Ok(body);
            }
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 << 10];
        let read = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(read)
    }
}

fn is_chunked(head: &str) -> bool {
    head.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked")
    })
}

fn content_length(head: &str) -> io::Result<usize> {
    let invalid =
        || io::Error::new(ErrorKind::InvalidData, format!("not a message of known length: {head:?}"));
    let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok()).flatten()
    });
    match length {
        Some(length) if length <= MAX_MESSAGE_BYTES => Ok(length),
        // Neither do requests without a body say how long it is.
        None if head.starts_with("GET ") || head.contains(" 204 ") => Ok(0),
        _ => Err(invalid()),
    }
}

/// The bytes of a `GET`.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: agent\r\n\r\n").into_bytes()
}

/// The bytes of a `POST` of JSON.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: agent\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The bytes of a response.
pub fn response(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn a_body_may_come_in_chunks() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut connection = Connection::of(listener.accept().unwrap().0).unwrap();
            for body in ["3\r\nabc\r\n10;x=1\r\n0123456789abcdef\r\n0\r\n\r\n", "0\r\n\r\n", "x\r\n"] {
                connection.receive().unwrap().unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
                for byte in answer.as_bytes() {
                    connection.send(&[*byte]).unwrap();
                }
            }
        });
        let mut connection = Connection::to(address, Duration::from_secs(20)).unwrap();
        assert_eq!(connection.ask(&get("/")).unwrap().body, b"abc0123456789abcdef");
        assert_eq!(connection.ask(&get("/")).unwrap().body, b"");
        assert_eq!(connection.ask(&get("/")).unwrap_err().kind(), ErrorKind::InvalidData);
        server.join().unwrap();
    }
}
