//! The upgrade as a client sees it: one fixed request, one answer to check.
//!
//! Knows RFC 6455 section 4. The key is always RFC 6455's own example, so that the right answer is a constant. Never
//! knows a socket.

/// The right `Sec-WebSocket-Accept` for the key of every request written here (RFC 6455 section 1.3).
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What is asked for, and has to be granted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The subprotocol.
    pub protocol: Option<&'a str>,
    /// permessage-deflate without context takeover.
    pub deflate: bool,
}

/// Appends a request for `target`.
pub fn write_request(out: &mut Vec<u8>, host: &str, target: &str, asked: Asked<'_>) {
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    if let Some(protocol) = asked.protocol {
        request += &format!("Sec-WebSocket-Protocol: {protocol}\r\n");
    }
    if asked.deflate {
        request += "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                    client_no_context_takeover\r\n";
    }
    out.extend_from_slice(request.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The answer of a server that grants the upgrade, and nothing more, to a request written here.
pub fn response() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
}

/// Bytes of the response's head once it is whole and right; what follows are frames.
///
/// # Errors
/// Any other answer, in words.
pub fn check_response(bytes: &[u8], asked: Asked<'_>) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > 16 * 1024 { Err("a response head beyond 16 KiB".into()) } else { Ok(None) };
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a response head that is not text".to_string())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101 ") {
        return Err(format!("refused: {status}"));
    }
    let value = |name: &str| {
        head.split("\r\n").skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    if value("Sec-WebSocket-Accept") != Some(ACCEPT) {
        return Err("a wrong Sec-WebSocket-Accept".into());
    }
    if value("Sec-WebSocket-Protocol") != asked.protocol {
        return Err(format!("subprotocol {:?} instead of {:?}", value("Sec-WebSocket-Protocol"), asked.protocol));
    }
    let extensions = value("Sec-WebSocket-Extensions").unwrap_or_default();
    let granted = extensions.starts_with("permessage-deflate") && extensions.contains("server_no_context_takeover");
    if granted != asked.deflate || (!asked.deflate && !extensions.is_empty()) {
        return Err(format!("extensions `{extensions}`, permessage-deflate was asked for: {}", asked.deflate));
    }
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_answer_is_taken() {
        let right = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nsec-websocket-accept: {ACCEPT}\r\n\r\nrest"
        );
        let nothing = Asked::default();
        assert_eq!(check_response(right.as_bytes(), nothing), Ok(Some(right.len() - 4)));
        for cut in 0..right.len() - 4 {
            assert_eq!(check_response(&right.as_bytes()[..cut], nothing), Ok(None));
        }
        assert!(check_response(right.as_bytes(), Asked { protocol: Some("fanwire.json.v1"), ..nothing }).is_err());
        assert!(check_response(right.replace("101", "503").as_bytes(), nothing).is_err());
        assert!(check_response(right.replace("s3p", "S3p").as_bytes(), nothing).is_err());
        let deflate = Asked { deflate: true, ..nothing };
        assert!(check_response(right.as_bytes(), deflate).is_err());
        let granted = right.replace(
            "\r\n\r\n",
            "\r\nsec-websocket-extensions: permessage-deflate; server_no_context_takeover\r\n\r\n",
        );
        assert!(check_response(granted.as_bytes(), deflate).is_ok());
        assert!(check_response(granted.as_bytes(), nothing).is_err());
    }
}
