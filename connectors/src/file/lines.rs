//! Reads lines, none longer than a limit, without copying those that lie whole in the buffer.

use std::io::{self, BufRead, ErrorKind};

use memchr::memchr;

use super::input::Input;

/// One line, without its line break.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// The start, up to the limit, of a line that is longer.
    TooLong { head: &'a [u8], bytes: u64 },
}

/// The lines of a file.
pub(crate) struct Lines {
    input: Input,
    bytes_max: usize,
    /// Bytes at the start of the input's buffer that were handed out last.
    handed_out: usize,
    /// The line that does not lie whole in the buffer, up to the limit; its bytes, and the last one.
    carried: Vec<u8>,
    carried_bytes: u64,
    carried_last: Option<u8>,
    /// Only a line break ends a line: the rest of the last one may still be written.
    is_followed: bool,
    /// Bytes of the lines so far, and of the one that is carried.
    read_bytes: u64,
    at_start: bool,
}

impl Lines {
    pub(crate) fn new(input: Input, bytes_max: usize) -> Self {
        Self {
            input,
            bytes_max,
            handed_out: 0,
            carried: Vec::new(),
            carried_bytes: 0,
            carried_last: None,
            is_followed: false,
            read_bytes: 0,
            at_start: true,
        }
    }

    /// The lines of a file that may still grow: one without a line break is not handed out, and
    /// there may be more after the last.
    pub(crate) fn followed(input: Input, bytes_max: usize) -> Self {
        Self {
            is_followed: true,
            ..Self::new(input, bytes_max)
        }
    }

    /// Bytes taken from the file so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.read_bytes += bytes as u64;
    }

    /// The next line; none at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let handed_out = std::mem::take(&mut self.handed_out);
        self.consume(handed_out);
        self.fill()?;
        if self.at_start && !self.input.buffer().is_empty() {
            self.at_start = false;
            self.skip_byte_order_mark();
        }
        if self.carried_bytes > 0 {
            return self.next_carried();
        }
        let Some(end) = memchr(b'\n', self.input.buffer()) else {
            return self.next_carried();
        };
        self.handed_out = end + 1;
        let line = &self.input.buffer()[..end];
        Ok(Some(limited(without_return(line), self.bytes_max)))
    }

    /// The next line when it reaches beyond what is in the buffer.
    fn next_carried(&mut self) -> io::Result<Option<Line<'_>>> {
        if self.carried_bytes == 0 {
            self.carried.clear();
            self.carried_last = None;
        }
        loop {
            self.fill()?;
            let buffer = self.input.buffer();
            let end = memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            // One byte beyond the limit is kept, which may be the return before the line break.
            let room = self
                .bytes_max
                .saturating_add(1)
                .saturating_sub(self.carried.len());
            self.carried
                .extend_from_slice(&part[..part.len().min(room)]);
            self.carried_bytes += part.len() as u64;
            self.carried_last = part.last().copied().or(self.carried_last);
            let (part_bytes, is_at_end) = (part.len(), buffer.is_empty());
            self.consume(part_bytes + usize::from(end.is_some()));
            if is_at_end && (self.carried_bytes == 0 || self.is_followed) {
                return Ok(None);
            }
            if end.is_some() || is_at_end {
                break;
            }
        }
        let mut bytes = std::mem::take(&mut self.carried_bytes);
        if self.carried_last == Some(b'\r') {
            bytes -= 1;
            self.carried
                .truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        if bytes > self.bytes_max as u64 {
            return Ok(Some(Line::TooLong {
                head: &self.carried[..self.bytes_max],
                bytes,
            }));
        }
        Ok(Some(Line::Whole(&self.carried)))
    }

    /// Fills the buffer when it is empty; it stays empty only at the end.
    fn fill(&mut self) -> io::Result<()> {
        loop {
            match self.input.fill_buf() {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Spreadsheets put a byte order mark before the header, which is no part of its first name.
    fn skip_byte_order_mark(&mut self) {
        if self.input.buffer().starts_with(b"\xef\xbb\xbf") {
            self.consume(3);
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn limited(line: &[u8], bytes_max: usize) -> Line<'_> {
    if line.len() > bytes_max {
        Line::TooLong {
            head: &line[..bytes_max],
            bytes: line.len() as u64,
        }
    } else {
        Line::Whole(line)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use proptest::prelude::*;

    use super::*;

    /// The lines of `text`, too long ones as their head and `~` and their length.
    fn lines(text: &[u8], buffer_bytes: usize, bytes_max: usize) -> Vec<Vec<u8>> {
        let bytes = Box::new(Cursor::new(text.to_vec()));
        let mut lines = Lines::new(BufReader::with_capacity(buffer_bytes, bytes), bytes_max);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(match line {
                Line::Whole(line) => line.to_vec(),
                Line::TooLong { head, bytes } => [head, format!("~{bytes}").as_bytes()].concat(),
            });
        }
        all
    }

    fn check(text: &str, bytes_max: usize, expected: &[&str]) {
        for buffer_bytes in [3, 4, 5, 7, 64] {
            let lines = lines(text.as_bytes(), buffer_bytes, bytes_max);
            let expected: Vec<_> = expected
                .iter()
                .map(|line| line.as_bytes().to_vec())
                .collect();
            assert_eq!(lines, expected, "{text:?} with a buffer of {buffer_bytes}");
        }
    }

    #[test]
    fn lines_end_in_either_line_break_or_at_the_end() {
        check("", 9, &[]);
        check("\n", 9, &[""]);
        check("one\ntwo\r\n\r\nthree", 9, &["one", "two", "", "three"]);
        check("one\r", 9, &["one"]);
        check("\u{feff}one\n\u{feff}two", 9, &["one", "\u{feff}two"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_one_is_read() {
        check(
            "1234567\r\n123456\n12345678",
            6,
            &["123456~7", "123456", "123456~8"],
        );
        check("123456\r\n1234567", 6, &["123456", "123456~7"]);
        check("12345\r7\r\n1", 6, &["12345\r~7", "1"]);
        check("12345\r\r\n1", 6, &["12345\r", "1"]);
    }

    proptest! {
        #[test]
        fn the_buffer_changes_nothing(
            text in "[ab\\r\\n]{0,40}",
            buffer_bytes in 3usize..12,
            bytes_max in 0usize..8,
        ) {
            let whole = lines(text.as_bytes(), 64, bytes_max);
            prop_assert_eq!(lines(text.as_bytes(), buffer_bytes, bytes_max), whole);
        }
    }
}
