//! Many requests for little work: on a busy machine a caller for each would be slower than the agent.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// The same question again and again, on one connection, without waiting for one answer before the next question.
pub(super) struct Pipeline {
    address: String,
    request: Vec<u8>,
    stream: Option<BufReader<TcpStream>>,
}

impl Pipeline {
    /// Questions for the agent at `url` (plain HTTP).
    pub(super) fn of(url: &str, question: &Value) -> Self {
        let (address, body) = (url.trim_start_matches("http://").to_owned(), question.to_string());
        let request = format!(
            "POST /v1/query HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { address, request: request.into_bytes(), stream: None }
    }

    /// Asks so many times and reads all answers, whatever they are. After an error the next call connects anew.
    pub(super) fn ask(&mut self, times: usize) -> io::Result<()> {
        let mut stream = if let Some(stream) = self.stream.take() {
            stream
        } else {
            let stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(40)))?;
            BufReader::new(stream)
        };
        stream.get_mut().write_all(&self.request.repeat(times))?;
        for _ in 0..times {
            read_answer(&mut stream)?;
        }
        self.stream = Some(stream);
        Ok(())
    }
}

fn read_answer(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        }
    }
    io::copy(&mut stream.take(length), &mut io::sink()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use serde_json::json;

    use super::*;

    #[test]
    fn all_answers_are_read_and_the_next_begins_where_they_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut asked, mut buffer) = (0, [0; 4096]);
            while asked < 5 {
                let read = stream.read(&mut buffer).unwrap();
                let here = String::from_utf8_lossy(&buffer[..read]).matches("POST").count();
                for _ in 0..here {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
                }
                asked += here;
            }
        });
        let mut pipeline = Pipeline::of(&url, &json!({"tenant_id": "acme"}));
        pipeline.ask(3).unwrap();
        pipeline.ask(2).unwrap();
        server.join().unwrap();
        assert!(pipeline.ask(1).is_err());
    }
}
