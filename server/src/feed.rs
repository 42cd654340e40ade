//! Job: a subscription over any of the subprotocols: connects, asks, and hands over what arrives as messages and notices.
//! Knows: the subprotocols, the ledger. Must never know: what becomes of a message.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use fanwire::proto::batch::{self, Frame};
use fanwire::proto::close::CloseCode;
use fanwire::proto::server_message::{Gap, ServerMessage};
use fanwire::proto::subscribe::{REQUEST_BYTES_MAX, code};
use fanwire::proto::topic::{Pattern, TopicName};
use fanwire::proto::{json, lz4, msgpack};
use fanwire::{Kind, Priority};

use crate::client::{Client, Closed, Incoming, Watched};
use crate::dial::Interrupts;
use crate::exit::{Exit, Failure, OrExit};
use crate::ledger::{Ledger, Numbering, Numbers};
use crate::plain;
use crate::requests::{self, Subscription};
use crate::upgrade::Offer;
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
    /// At most so many messages a second and lane.
    pub max_hz: Option<f64>,
    /// Messages may wait so long to be sent together.
    pub max_delay: Option<Duration>,
    /// How to connect. The subprotocol is the form's.
    pub offer: Offer<'a>,
    /// It will have to go on where it ends.
    pub is_resumable: bool,
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
    /// A topic's messages follow.
    Subscribed(Topic<'a>),
    /// The subscription is in force.
    InForce,
    /// The server refused it.
    Refused(Refusal),
    /// The server closes the connection after so much time, and wants it to come anew.
    Migrate(Duration),
    /// Something that cannot be read.
    Unreadable(String),
}

/// A topic that is subscribed.
#[derive(Clone, Copy, Debug)]
pub struct Topic<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether its numbers go on.
    pub numbering: Numbering,
    /// The numbers after which it goes on.
    pub numbers: Numbers,
    /// There are more topics now than one request could say of where they go on.
    pub is_too_many: bool,
}

/// Why the server does not subscribe.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What it says.
    pub text: String,
    /// It may be otherwise in a minute: the server is ending, or something is full.
    pub is_passing: bool,
}

/// What [`Feed::take`] found.
#[derive(Debug)]
pub enum Taken {
    /// A frame: there may be more.
    Frame,
    /// Nothing: more has to arrive.
    Nothing,
    /// The end of the connection.
    Closed(Closed),
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
    /// What was asked for from the oldest message that is kept.
    from_oldest: Vec<Pattern>,
    /// See [`Wanted::is_resumable`].
    is_resumable: bool,
    /// Nothing was asked for that will be answered.
    is_silent: bool,
}

impl Feed {
    /// Connects and subscribes, going on where the ledger ends. `None`: something interrupted it.
    ///
    /// # Errors
    /// As [`Client::connect`]; a raw connection cannot carry patterns; more topics than a request can say of where they go on.
    pub fn open(wanted: &Wanted<'_>, ledger: &Ledger, interrupts: &Interrupts<'_>) -> Result<Option<Self>, Failure> {
        let offer = Offer { protocol: wanted.form.protocol(), ..wanted.offer };
        let is_raw = wanted.form == Form::Raw;
        let raw_url = if is_raw { Some(raw_url(wanted.url, wanted.topics)?) } else { None };
        // Before it connects: what cannot be asked for loses nothing by being tried.
        let requests = if is_raw { Vec::new() } else { requests_of(wanted, ledger)? };
        let Some(client) = Client::connect(raw_url.as_ref().unwrap_or(wanted.url), &offer, interrupts)? else {
            return Ok(None);
        };
        let mut feed = Feed {
            client,
            form: wanted.form,
            names: HashMap::new(),
            payload: Vec::new(),
            block: Vec::new(),
            from_oldest: wanted
                .topics
                .iter()
                .filter(|topic| ledger.was_asked(topic))
                .filter_map(|topic| Pattern::parse(topic).ok())
                .collect(),
            is_resumable: wanted.is_resumable,
            is_silent: is_raw,
        };
        requests.iter().for_each(|request| feed.send(request));
        Ok(Some(feed))
    }

    fn send(&mut self, request: &[u8]) {
        if self.form == Form::Msgpack {
            self.client.send_binary(request);
        } else {
            self.client.send_text(request);
        }
    }

    /// Lets bytes move: see [`Client::step`].
    ///
    /// # Errors
    /// As [`Client::step`].
    pub fn step(&mut self, until: Instant, is_reading: bool, watched: &mut [Watched<'_>]) -> Result<(), Failure> {
        self.client.step(until, is_reading, watched)
    }

    /// Begins to close.
    pub fn close(&mut self) {
        self.client.close(CloseCode::NORMAL, "");
    }

    /// Hands over what the next frame holds that has arrived, unless the visitor breaks off.
    pub fn take<B>(
        &mut self,
        ledger: &mut Ledger,
        mut visit: impl FnMut(Item<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B, Taken> {
        let Feed { client, form, names, payload, block, from_oldest, is_resumable, is_silent } = self;
        if std::mem::take(is_silent) {
            visit(Item::InForce)?;
        }
        let mut reader = Reader { ledger, names, payload, from_oldest, is_resumable: *is_resumable };
        let Some(incoming) = client.next() else { return ControlFlow::Continue(Taken::Nothing) };
        match (*form, incoming) {
            (_, Incoming::Closed(closed)) => return ControlFlow::Continue(Taken::Closed(closed)),
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
        ControlFlow::Continue(Taken::Frame)
    }
}

/// What is sent at first. Names and patterns that were subscribed to before bring everything that is kept of topics which came
/// to be since; those that were not begin as they would in a first run. Then a ping: a pattern is confirmed only when a topic
/// matches it, and a pong comes after all that was asked before.
fn requests_of(wanted: &Wanted<'_>, ledger: &Ledger) -> Result<Vec<Vec<u8>>, Failure> {
    let since = (!ledger.is_new()).then(|| ledger.to_json());
    let (known, new): (Vec<String>, Vec<String>) =
        wanted.topics.iter().cloned().partition(|topic| ledger.was_asked(topic));
    let mut requests = Vec::new();
    let mut request = Vec::new();
    for (topics, is_known) in [(known, true), (new, false)] {
        if topics.is_empty() {
            continue;
        }
        let (max_hz, max_delay, since) = (wanted.max_hz, wanted.max_delay, since.as_deref());
        let subscription = Subscription { topics: &topics, max_hz, max_delay, since, is_from_oldest: is_known };
        requests::write_subscribe(&mut request, SUBSCRIBE_ID, &subscription);
        requests.push(encoded(wanted.form, &request)?);
    }
    if let Some(length) = requests.iter().map(Vec::len).find(|length| *length > REQUEST_BYTES_MAX) {
        let what = format!(
            "to say where {} topics go on takes {length} bytes, more than the {REQUEST_BYTES_MAX} of a request: subscribe to \
             fewer of them, each with a copy of the state",
            ledger.topic_count()
        );
        return Err(Failure::message(Exit::Failed, what));
    }
    requests::write_ping(&mut request, SUBSCRIBE_ID);
    requests.push(encoded(wanted.form, &request)?);
    Ok(requests)
}

fn encoded(form: Form, request: &[u8]) -> Result<Vec<u8>, Failure> {
    match form {
        Form::Msgpack => requests::to_msgpack(request).or_exit(Exit::Software, || "a request is not JSON".into()),
        _ => Ok(request.to_vec()),
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
    from_oldest: &'f [Pattern],
    is_resumable: bool,
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
                let has_gap_to_come = self.from_oldest.iter().any(|pattern| pattern.matches(&subscribed.topic));
                let (numbering, numbers) = self.ledger.on_subscribed(&subscribed, has_gap_to_come);
                let is_too_many = self.is_resumable && !self.ledger.fits_in_a_request();
                visit(Item::Subscribed(Topic { name: &subscribed.topic, numbering, numbers, is_too_many }))
            }
            ServerMessage::Pong(_) => visit(Item::InForce),
            ServerMessage::Error(error) => visit(Item::Refused(Refusal {
                text: plain::text(&format!("{} ({})", error.message, error.code)).into_owned(),
                is_passing: is_passing(&error.code),
            })),
            ServerMessage::Migrate(migrate) => visit(Item::Migrate(Duration::from_millis(migrate.after_ms))),
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

/// Whether a request that was refused with this code may be taken in a minute.
pub fn is_passing(code: &str) -> bool {
    matches!(code, code::STOPPED | code::TOO_MANY_SUBSCRIPTIONS | code::TOO_MANY_TOPICS)
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
