//! A second reading of `Sec-WebSocket-Extensions`: marks and words first, then RFC 6455 section 9.1, then RFC 7692 section 7.1.

/// What the server should answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) server_bits: u8,
    pub(super) client_bits: u8,
    asked: bool,
}

impl Chosen {
    pub(super) fn response(&self) -> String {
        let mut response = String::from("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        if self.asked {
            response.push_str(&format!("; server_max_window_bits={}", self.server_bits));
        }
        response
    }
}

/// The first acceptable offer in all values.
///
/// # Errors
/// One of them is not what the header may hold.
pub(super) fn choose<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Chosen>, ()> {
    let mut offers = Vec::new();
    for value in values {
        let lexemes = lexemes(value)?;
        for element in lexemes.split(|lexeme| *lexeme == Lexeme::Mark(b',')) {
            if !element.is_empty() {
                offers.push(offer(element)?);
            }
        }
    }
    Ok(offers.into_iter().flatten().next())
}

#[derive(Debug, PartialEq, Eq)]
enum Lexeme {
    Mark(u8),
    Word(String),
    /// A quoted string, without its quotes and backslashes.
    Quoted(String),
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte)
}

fn lexemes(value: &[u8]) -> Result<Vec<Lexeme>, ()> {
    let mut bytes = value.iter().copied().peekable();
    let mut found = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' => {}
            b',' | b';' | b'=' => found.push(Lexeme::Mark(byte)),
            b'"' => {
                let mut text = String::new();
                loop {
                    match bytes.next().ok_or(())? {
                        b'"' if !text.is_empty() => break,
                        b'\\' => text.push(bytes.next().filter(|b| is_token_byte(*b)).ok_or(())?.into()),
                        byte if is_token_byte(byte) => text.push(byte.into()),
                        _ => return Err(()),
                    }
                }
                found.push(Lexeme::Quoted(text));
            }
            byte if is_token_byte(byte) => {
                let mut word = String::from(char::from(byte));
                while let Some(byte) = bytes.next_if(|b| is_token_byte(*b)) {
                    word.push(byte.into());
                }
                found.push(Lexeme::Word(word));
            }
            _ => return Err(()),
        }
    }
    Ok(found)
}

/// One element of the list: `Ok(None)` where it is another extension, or declined.
fn offer(element: &[Lexeme]) -> Result<Option<Chosen>, ()> {
    let mut parts = element.split(|lexeme| *lexeme == Lexeme::Mark(b';'));
    let Some([Lexeme::Word(name)]) = parts.next() else { return Err(()) };
    let mut parameters: Vec<(&str, Option<&str>)> = Vec::new();
    for part in parts {
        parameters.push(match part {
            [Lexeme::Word(name)] => (name, None),
            [Lexeme::Word(name), Lexeme::Mark(b'='), Lexeme::Word(value) | Lexeme::Quoted(value)] => {
                (name, Some(value))
            }
            _ => return Err(()),
        });
    }
    Ok((name == "permessage-deflate").then(|| judge(&parameters)).flatten())
}

fn judge(parameters: &[(&str, Option<&str>)]) -> Option<Chosen> {
    let mut chosen = Chosen { server_bits: 15, client_bits: 15, asked: false };
    for (n, (name, value)) in parameters.iter().enumerate() {
        if parameters[..n].iter().any(|(other, _)| other == name) {
            return None;
        }
        let bits = value.map(|value| (8..=15u8).find(|bits| bits.to_string() == *value));
        match (*name, value, bits) {
            ("server_no_context_takeover" | "client_no_context_takeover", None, _) => {}
            ("server_max_window_bits", _, Some(Some(bits @ 9..))) => {
                (chosen.server_bits, chosen.asked) = (bits, true);
            }
            ("client_max_window_bits", None, _) => {}
            ("client_max_window_bits", _, Some(Some(bits))) => chosen.client_bits = bits,
            _ => return None,
        }
    }
    Some(chosen)
}
