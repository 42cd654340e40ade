//! Job: a subscription over any of the subprotocols: connects, asks, and hands over what arrives as messages and notices.
//! Knows: the subprotocols, the ledger. Must never know: what becomes of a message.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use fanwire::proto::batch::{self, Frame};
use fanwire::proto::close::CloseCode;
use fanwire::proto::server_message::{Gap, ServerMessage};
use fanwire::proto::topic::TopicName;
use fanwire::proto::{json, lz4, msgpack};
use fanwire::{Kind, Priority};

use crate::client::{Client, Closed, Incoming, Offer};
use crate::exit::{Exit, Failure, OrExit};
use crate::ledger::{Ledger, Numbering};
use crate::requests::{self, Subscription};
use crate::url::Url;

/// Largest block of a batch: the engine's largest message and what stands around it.
const BLOCK_BYTES_MAX: usize = 65 << 20;
/// The request's number, and that of the ping that tells when it is done.
const SUBSCRIBE_ID: u64 = 1;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `fanwire.json.v1`
    Json,
    /// `fanwire.msgpack.v1`
    Msgpack,
    /// `fanwire.batch.v1`
    Batch,
    /// `fanwire.batch.v1+lz4`
    BatchLz4,
    /// No subprotocol
    Raw,
}

impl Form {
    fn protocol(self) -> Option<&'static str> {
        match self {
            Form::Json => Some(json::PROTOCOL),
            Form::Msgpack => Some(msgpack::PROTOCOL),
            Form::Batch => Some(batch::PROTOCOL),
            Form::BatchLz4 => Some(batch::PROTOCOL_LZ4),
            Form::Raw => None,
        }
    }
}

/// What is asked for, of whom, and how.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where the server is.
    pub url: &'a Url,
    /// Names and patterns.
    pub topics: &'a [String],
    /// What is spoken.
    pub form: Form,
    /// Whether the server may compress.
    pub deflate: bool,
    /// At most so many messages a second and lane.
    pub max_hz: Option<f64>,
    /// Time to connect in.
    pub timeout: Duration,
}

/// A message that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Its topic; empty on a raw connection, where messages do not tell.
    pub topic: &'a str,
    /// Its priority.
    pub priority: Priority,
    /// Its number; 0 on a raw connection.
    pub seq: u64,
    /// When it was published, in microseconds since 1970; `None` on a raw connection.
    pub time_us: Option<u64>,
    /// What the payload is.
    pub kind: Kind,
    /// The payload as it was published.
    pub payload: &'a [u8],
    /// The JSON object it came in, if it came in one.
    pub object: Option<&'a str>,
}

/// What arrives.
#[derive(Debug)]
pub enum Item<'a> {
    /// A message.
    Message(Delivery<'a>),
    /// Messages that do not come.
    Gap(Gap<'a>),
    /// A topic's numbering began anew.
    BeganAnew(&'a str),
    /// The subscription is in force.
    InForce,
    /// The server refused it.
    Refused(String),
    /// Something that cannot be read.
    Unreadable(String),
}

/// The subscription.
#[derive(Debug)]
pub struct Feed {
    client: Client,
    form: Form,
    /// Topics by their numbers, where messages carry those.
    names: HashMap<u32, String>,
    /// A payload that had to be decoded.
    payload: Vec<u8>,
    /// A block that had to be decompressed.
    block: Vec<u8>,
    /// The request said where to go on.
    resumes: bool,
    /// Nothing was asked for that will be answered.
    is_silent: bool,
}

impl Feed {
    /// Connects and subscribes, going on where the ledger ends.
    ///
    /// # Errors
    /// As [`Client::connect`]; a raw connection cannot carry patterns.
    pub fn open(wanted: &Wanted<'_>, ledger: &Ledger) -> Result<Self, Failure> {
        let offer = Offer { protocol: wanted.form.protocol(), deflate: wanted.deflate };
        let is_raw = wanted.form == Form::Raw;
        let raw_url = if is_raw { Some(raw_url(wanted.url, wanted.topics)?) } else { None };
        let client = Client::connect(raw_url.as_ref().unwrap_or(wanted.url), &offer, wanted.timeout)?;
        let resumes = !is_raw && !ledger.is_empty();
        let mut feed = Feed {
            client,
            form: wanted.form,
            names: HashMap::new(),
            payload: Vec::new(),
            block: Vec::new(),
            resumes,
            is_silent: is_raw,
        };
        if !is_raw {
            if resumes && ledger.is_too_large() {
                tracing::warn!("more topics than a request can name: some begin with their last value");
            }
            let since = ledger.to_json();
            let since = resumes.then_some(since.as_str());
            let mut request = Vec::new();
            let subscription = Subscription { topics: wanted.topics, max_hz: wanted.max_hz, since };
            requests::write_subscribe(&mut request, SUBSCRIBE_ID, &subscription);
            feed.send(&request)?;
            // A pattern is confirmed only when a topic matches it; a pong comes after all that was asked before.
            requests::write_ping(&mut request, SUBSCRIBE_ID);
            feed.send(&request)?;
        }
        Ok(feed)
    }

    fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        if self.form == Form::Msgpack {
            let packed = requests::to_msgpack(request).or_exit(Exit::Software, || "a request is not JSON".into())?;
            self.client.send_binary(&packed);
        } else {
            self.client.send_text(request);
        }
        Ok(())
    }

    /// Lets bytes move, until something arrives or `until`.
    ///
    /// # Errors
    /// As [`Client::step`].
    pub fn step(&mut self, until: Instant) -> Result<(), Failure> {
        self.client.step(Some(until), None).map(drop)
    }

    /// Begins to close.
    pub fn close(&mut self) {
        self.client.close(CloseCode::NORMAL, "");
    }

    /// Hands over what has arrived, until that is all or the visitor breaks off. How the connection ended, if it did.
    pub fn drain<B>(
        &mut self,
        ledger: &mut Ledger,
        mut visit: impl FnMut(Item<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B, Option<Closed>> {
        let Feed { client, form, names, payload, block, resumes, is_silent } = self;
        if std::mem::take(is_silent) {
            visit(Item::InForce)?;
        }
        let mut reader = Reader { ledger, names, payload, resumes: *resumes };
        while let Some(incoming) = client.next() {
            match (*form, incoming) {
                (_, Incoming::Closed(closed)) => return ControlFlow::Continue(Some(closed)),
                (Form::Raw, Incoming::Text(text)) => visit(raw(Kind::Text, text.as_bytes()))?,
                (Form::Raw, Incoming::Binary(bytes)) => visit(raw(Kind::Binary, bytes))?,
                (Form::Json, Incoming::Text(text)) => reader.json(text, &mut visit)?,
                (Form::Msgpack, Incoming::Binary(bytes)) => match msgpack::server::parse(bytes) {
                    Ok(object) => reader.object(object, None, &mut visit)?,
                    Err(error) => visit(Item::Unreadable(error.to_string()))?,
                },
                (Form::Batch | Form::BatchLz4, Incoming::Binary(frame)) => {
                    let decompress = |packed: &[u8], size: usize, out: &mut Vec<u8>| {
                        lz4::decompress(packed, size, BLOCK_BYTES_MAX, out).is_ok()
                    };
                    match batch::decode(frame, BLOCK_BYTES_MAX, block, decompress) {
                        Ok(Frame::Control(text)) => reader.json(text, &mut visit)?,
                        Ok(Frame::Data(batch)) => reader.batch(&batch, &mut visit)?,
                        Ok(Frame::Unknown) => {}
                        Err(error) => visit(Item::Unreadable(error.to_string()))?,
                    }
                }
                _ => visit(Item::Unreadable("a text message in place of a binary one, or the other way round".into()))?,
            }
        }
        ControlFlow::Continue(None)
    }
}

fn raw(kind: Kind, payload: &[u8]) -> Item<'_> {
    let (topic, priority, seq, time_us, object) = ("", Priority::Normal, 0, None, None);
    Item::Message(Delivery { topic, priority, seq, time_us, kind, payload, object })
}

/// What reading needs beside the connection.
struct Reader<'f> {
    ledger: &'f mut Ledger,
    names: &'f mut HashMap<u32, String>,
    payload: &'f mut Vec<u8>,
    resumes: bool,
}

impl Reader<'_> {
    fn json<B>(&mut self, text: &str, visit: &mut impl FnMut(Item<'_>) -> ControlFlow<B>) -> ControlFlow<B> {
        match json::server::parse(text) {
            Ok(object) => self.object(object, Some(text), visit),
            Err(error) => visit(Item::Unreadable(error.to_string())),
        }
    }

    fn object<B>(
        &mut self,
        object: ServerMessage<'_>,
        text: Option<&str>,
        visit: &mut impl FnMut(Item<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        match object {
            ServerMessage::Message(message) => {
                if !self.ledger.on_message(&message.topic, message.priority, message.seq) {
                    return ControlFlow::Continue(());
                }
                let payload = match message.content.as_plain() {
                    Some(payload) => payload,
                    None => {
                        self.payload.clear();
                        if let Err(error) = message.content.decode(self.payload) {
                            let what = format!("message {} of {}: {error}", message.seq, message.topic);
                            return visit(Item::Unreadable(what));
                        }
                        self.payload.as_slice()
                    }
                };
                visit(Item::Message(Delivery {
                    topic: &message.topic,
                    priority: message.priority,
                    seq: message.seq,
                    time_us: Some(message.time_us),
                    kind: message.content.kind(),
                    payload,
                    object: text,
                }))
            }
            ServerMessage::Gap(gap) => {
                self.ledger.on_gap(&gap.topic, gap.priority, gap.to);
                visit(Item::Gap(gap))
            }
            ServerMessage::Subscribed(subscribed) => {
                tracing::debug!("subscribed to {}", subscribed.topic);
                self.names.insert(subscribed.topic_id, subscribed.topic.to_string());
                match self.ledger.on_subscribed(&subscribed, self.resumes) {
                    Numbering::Goes => ControlFlow::Continue(()),
                    Numbering::BeganAnew => visit(Item::BeganAnew(&subscribed.topic)),
                }
            }
            ServerMessage::Pong(_) => visit(Item::InForce),
            ServerMessage::Error(error) => visit(Item::Refused(format!("{} ({})", error.message, error.code))),
            _ => ControlFlow::Continue(()),
        }
    }

    fn batch<B>(
        &mut self,
        batch: &batch::Batch<'_>,
        visit: &mut impl FnMut(Item<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(topic) = self.names.get(&batch.head.topic_id.0) else {
            return visit(Item::Unreadable(format!(
                "messages of a topic {} that is not subscribed",
                batch.head.topic_id.0
            )));
        };
        let (priority, kind) = (batch.head.priority, batch.head.kind);
        for message in batch.messages() {
            // The first ones of a batch may have come before.
            if !self.ledger.on_message(topic, priority, message.seq) {
                continue;
            }
            let (seq, payload, time_us) = (message.seq, message.payload, Some(message.timestamp_ns / 1_000));
            visit(Item::Message(Delivery { topic, priority, seq, time_us, kind, payload, object: None }))?;
        }
        ControlFlow::Continue(())
    }
}

/// The URL of a raw connection to these topics.
fn raw_url(url: &Url, topics: &[String]) -> Result<Url, Failure> {
    let usage = |what: String| Failure { code: 2, error: anyhow::Error::msg(what) };
    let (path, query) = url.target.split_once('?').unwrap_or((&url.target, ""));
    if path != "/" {
        return Err(usage(format!("{url}: with --protocol raw the URL is that of the server, without a path")));
    }
    if let Some(pattern) = topics.iter().find(|topic| TopicName::check(topic).is_err()) {
        return Err(usage(format!("`{pattern}` is a pattern: a raw connection (--protocol raw) has names only")));
    }
    let mut topics = topics.iter().map(|topic| percent_encoded(topic));
    let first = topics.next().unwrap_or_default();
    let more = topics.map(|topic| format!("topic={topic}")).chain((!query.is_empty()).then(|| query.to_owned()));
    let query = more.collect::<Vec<_>>().join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    Ok(Url { target: format!("/t/{first}{mark}{query}"), ..url.clone() })
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use fanwire::proto::target::Target;

    use super::*;

    #[test]
    fn a_raw_target_names_every_topic() {
        let url: Url = "ws://h:1/?token=x".parse().unwrap();
        let topics = ["a/b c".to_owned(), "ü&=+?#%".to_owned()];
        let raw = raw_url(&url, &topics).unwrap();
        let target = Target::parse(&raw.target).unwrap();
        assert_eq!(target.topics[..], topics);
        assert_eq!(target.parameter("token").unwrap().as_deref(), Some("x"));
        assert_eq!(raw_url(&"ws://h:1".parse().unwrap(), &topics[..1]).unwrap().target, "/t/a/b%20c");
        assert_eq!(raw_url(&url, &["a/*".to_owned()]).unwrap_err().code, 2);
        assert_eq!(raw_url(&"ws://h:1/x".parse().unwrap(), &topics).unwrap_err().code, 2);
    }
}
