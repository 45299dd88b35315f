//! A parser of `text/event-stream` (WHATWG HTML, 9.2.6), fed with whatever pieces the network delivers. Used by `log`.

/// The longest event that is taken, bytes.
const MAX_EVENT: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its own id, not one of an event before it.
    pub id: Option<String>,
    /// Its data.
    pub data: Vec<u8>,
}

/// The event is larger than [`MAX_EVENT`]: this is no stream of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// The parser: bytes in, whole events out. An event that was cut off never comes out.
#[derive(Debug, Default)]
pub(super) struct Parser {
    buffer: Vec<u8>,
    name: String,
    id: Option<String>,
    data: Vec<u8>,
    /// Whether there is a data line already, which the next one follows after a line feed.
    begun: bool,
}

impl Parser {
    /// Takes a piece and gives the events that it completes.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Vec<Event>, TooLarge> {
        self.buffer.extend_from_slice(piece);
        if self.buffer.len() + self.data.len() > MAX_EVENT {
            return Err(TooLarge);
        }
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(found) = self.buffer[start..].iter().position(|b| matches!(b, b'\r' | b'\n')) {
            let end = start + found;
            let next = match (self.buffer[end], self.buffer.get(end + 1)) {
                (b'\r', Some(b'\n')) => end + 2,
                // Whether a line feed follows is not known yet.
                (b'\r', None) => break,
                _ => end + 1,
            };
            let line = self.buffer[start..end].to_vec();
            events.extend(self.line(&line));
            start = next;
        }
        self.buffer.drain(..start);
        Ok(events)
    }

    fn line(&mut self, line: &[u8]) -> Option<Event> {
        if line.is_empty() {
            self.begun = false;
            let event = Event {
                name: std::mem::take(&mut self.name),
                id: self.id.take(),
                data: std::mem::take(&mut self.data),
            };
            return (event != Event::default()).then_some(event);
        }
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => {
                self.data.extend(std::mem::replace(&mut self.begun, true).then_some(b'\n'));
                self.data.extend_from_slice(value);
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"id" => self.id = Some(String::from_utf8_lossy(value).into_owned()),
            // Comments (an empty name), `retry`, and what is to come.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, id: Option<&str>, data: &str) -> Event {
        Event { name: name.to_owned(), id: id.map(str::to_owned), data: data.as_bytes().to_vec() }
    }

    const STREAM: &str = ": hello\n\nevent: log\nid: 4\ndata: a\ndata: b\ndata: \n\nevent:log\r\nid:9\r\ndata:x\r\ndata: y\r\n\r\n\
        event: log\nid: 20\ndata:  50%\rdata: 99%\rdata: \ndata: done\n\nevent: end\ndata: succeeded\n\nevent: log\ndata: cut";

    #[test]
    fn whole_events_come_out_however_the_stream_is_cut() {
        let expected = [
            event("log", Some("4"), "a\nb\n"),
            event("log", Some("9"), "x\ny"),
            event("log", Some("20"), " 50%\n99%\n\ndone"),
            event("end", None, "succeeded"),
        ];
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let events: Vec<Event> =
                STREAM.as_bytes().chunks(size).flat_map(|piece| parser.feed(piece).unwrap()).collect();
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1024 * 1024];
        assert!((0..17).any(|_| parser.feed(&piece).is_err()));
    }
}
