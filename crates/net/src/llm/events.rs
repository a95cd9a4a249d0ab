//! Server-sent events: the form in which servers stream their replies.

/// Reads server-sent events from pieces of bytes that may be cut anywhere, even within a character.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    /// The beginning of the line that is not complete yet.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return. A line feed right behind it belongs to the same line end.
    is_after_return: bool,
    /// The data lines of the event that is not complete yet.
    data: Vec<String>,
}

impl EventReader {
    /// The data of the events that these bytes complete, in order. The error says why the bytes are no events.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut events = Vec::new();
        for &byte in bytes {
            let is_second_half = byte == b'\n' && self.is_after_return;
            self.is_after_return = byte == b'\r';
            match byte {
                b'\n' if is_second_half => {}
                b'\n' | b'\r' => events.extend(self.end_line()?),
                _ => self.line.push(byte),
            }
        }
        Ok(events)
    }

    /// The data of the last event, if the connection was closed behind it without an empty line.
    pub fn end(mut self) -> Option<String> {
        if !self.line.is_empty() {
            self.end_line().ok()?;
        }
        self.end_event()
    }

    /// Processes the line that is now complete. An empty line ends an event: the result is then the event's data.
    /// `None` for any other line, or if the event has no data.
    fn end_line(&mut self) -> Result<Option<String>, String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(self.end_event());
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (field, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || std::str::from_utf8(value).map_err(|e| format!("it is not UTF-8: {e}"));
        match field {
            b"data" => self.data.push(text()?.to_owned()),
            // Older versions of llama.cpp send an error under its own name.
            b"error" => self.data.push(format!(r#"{{"error": {}}}"#, text()?)),
            // A comment, with which servers keep the connection alive, or a field that says nothing about the reply.
            _ => {}
        }
        Ok(None)
    }

    fn end_event(&mut self) -> Option<String> {
        let data = std::mem::take(&mut self.data);
        (!data.is_empty()).then(|| data.join("\n"))
    }
}
