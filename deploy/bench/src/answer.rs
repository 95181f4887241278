//! Reads HTTP/1.1 answers off a connection, no more of them than a load tool has to know.

/// How an answer ended, if the bytes hold all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Complete {
    pub(crate) status: u16,
    /// Bytes of head and body.
    pub(crate) length: usize,
}

/// The answer that `bytes` begin with, once it is complete.
pub(crate) fn parse(bytes: &[u8]) -> Option<Complete> {
    let head_length = find(bytes, b"\r\n\r\n")? + 4;
    let head = bytes.get(..head_length)?;
    let status = std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()?;
    let body_length = if let Some(length) = header(head, b"content-length:") {
        length.parse().ok()?
    } else if header(head, b"transfer-encoding:").is_some() {
        find(bytes.get(head_length..)?, b"0\r\n\r\n")? + 5
    } else {
        0
    };
    let length = head_length + body_length;
    (bytes.len() >= length).then_some(Complete { status, length })
}

fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))?;
    std::str::from_utf8(line.get(name.len()..)?).ok().map(str::trim)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::{Complete, parse};

    #[test]
    fn an_answer_is_complete_when_its_body_is_there() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None, "after {end} bytes");
        }
        assert_eq!(parse(whole), Some(Complete { status: 201, length: whole.len() }));
    }

    #[test]
    fn a_chunked_answer_ends_with_the_empty_chunk() {
        let whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(parse(&whole[..whole.len() - 1]), None);
        assert_eq!(parse(whole), Some(Complete { status: 200, length: whole.len() }));
    }

    #[test]
    fn an_answer_without_a_body_ends_with_its_head() {
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(Complete { status: 204, length: 27 }));
    }
}
