//! The protocol of Beats, as much as it takes to send lines: <https://github.com/logstash-plugins/logstash-input-beats/blob/main/PROTOCOL.md>.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

/// Sends lines as Filebeat would, each in [message] with `fields` beside it, and waits until they are acknowledged.
pub fn send(port: u16, lines: &[&str], fields: &Value) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("beats: {e}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_mins(1))).map_err(failed)?;
    let count = u32::try_from(lines.len()).map_err(|e| e.to_string())?;
    let mut frames = [b"2W".as_slice(), &count.to_be_bytes()].concat();
    for (line, number) in lines.iter().zip(1_u32..) {
        let mut event =
            json!({ "message": line, "agent": { "type": "filebeat" }, "host": { "name": "elsewhere" } });
        if !fields.is_null() {
            event["fields"] = fields.clone();
        }
        let event = event.to_string();
        let length = u32::try_from(event.len()).map_err(|e| e.to_string())?;
        frames.extend_from_slice(b"2J");
        frames.extend_from_slice(&number.to_be_bytes());
        frames.extend_from_slice(&length.to_be_bytes());
        frames.extend_from_slice(event.as_bytes());
    }
    stream.write_all(&frames).map_err(failed)?;
    // Acknowledgements of parts of the window may come first.
    loop {
        let mut acknowledged = [0; 6];
        stream.read_exact(&mut acknowledged).map_err(failed)?;
        if acknowledged[..2] != *b"2A" {
            return Err(format!("beats: an answer that is none: {acknowledged:?}"));
        }
        if acknowledged[2..] == count.to_be_bytes() {
            return Ok(());
        }
    }
}
