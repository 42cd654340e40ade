//! The rules of a request: which keys there are, what each type needs, what may stand in a field, how it is refused.
//!
//! Each rule stands here once, for all encodings. Never knows how a value is written: that is [`RawValue`] and
//! [`ValueReader`], which each encoding gives. All calls are static.

use super::{
    Beginning, ClientMessage, Content, ControlError, Id, KEY_BYTES_MAX, LaneSince, Parsed, Publish, RATE_HZ_MAX,
    REQUEST_BYTES_MAX, Since, SinceList, TOKEN_BYTES_MAX, TOPICS_MAX, code, delay_ms,
};
use crate::Priority;
use crate::json::reader::JsonString;
use crate::topic::{NAME_BYTES_MAX, Pattern, TopicName};
use crate::traceparent::TraceParent;
use std::borrow::Cow;

/// A value of a request as it is written. It was checked before: it is whole, and there is nothing behind it.
///
/// What is asked for as another type than it is, is `None`.
pub(crate) trait RawValue<'a>: Copy + Default + PartialEq {
    /// Stands in front of a value.
    type Reader: ValueReader<'a>;
    /// What stands for nothing.
    const NULL: Self;
    /// Whether `data` may be that.
    const NULL_IS_PAYLOAD: bool;
    /// What `data` without `encoding` holds, for people.
    const PLAIN_PAYLOAD: &'static str;

    /// A reader in front of this value.
    fn reader(self) -> Self::Reader;
    fn id(self) -> Option<Id<'a>>;
    fn boolean(self) -> Option<bool>;
    /// A whole number from 0 to 2^64 - 1.
    fn unsigned(self) -> Option<u64>;
    /// Any number; one below 0 may be `None`.
    fn number(self) -> Option<f64>;
    /// What `data` is without `encoding`.
    fn payload(self) -> Parsed<'a, Content<'a>>;
}

/// Reads values, one after the other, that were checked before.
pub(crate) trait ValueReader<'a>: Sized {
    /// A value as it is written.
    type Raw: RawValue<'a>;
    /// What an object is called, for people.
    const OBJECT: &'static str;

    /// Reads past the value ahead.
    fn raw(&mut self) -> Parsed<'a, Self::Raw>;
    /// Reads a string; `None` if the value ahead is none.
    fn text(&mut self) -> Option<JsonString<'a>>;
    /// Calls `item` in front of each value of an array; it must read exactly one. False if the value ahead is none.
    fn each_item(&mut self, item: impl FnMut(&mut Self) -> Parsed<'a, ()>) -> Parsed<'a, bool>;
    /// Calls `member` in front of each value of an object; it must read exactly one. False if the value ahead is none.
    fn each_member(&mut self, member: impl FnMut(JsonString<'a>, &mut Self) -> Parsed<'a, ()>) -> Parsed<'a, bool>;

    /// A reader inside `raw`, an object, where [`ValueReader::at`] was.
    fn resume(raw: Self::Raw, at: usize) -> Self;
    /// Where it stands.
    fn at(&self) -> usize;
    /// Enters an object: how many members are left in it, as far as that can be said. `None` if the value ahead is none.
    fn enter(&mut self) -> Option<u32>;
    /// The name of the object's next member, whose value is to be read next. `None`: there is no other.
    fn next_member(&mut self, left: &mut u32) -> Parsed<'a, Option<JsonString<'a>>>;
}

/// The fields of a request as they are written; which of them count depends on `type`.
#[derive(Default)]
pub(crate) struct Fields<V> {
    r#type: Option<V>,
    id: Option<V>,
    topics: Option<V>,
    since: Option<V>,
    from: Option<V>,
    max_hz: Option<V>,
    max_delay_ms: Option<V>,
    echo: Option<V>,
    topic: Option<V>,
    data: Option<V>,
    priority: Option<V>,
    key: Option<V>,
    ttl_ms: Option<V>,
    traceparent: Option<V>,
    encoding: Option<V>,
    token: Option<V>,
}

impl<'a, V: RawValue<'a>> Fields<V> {
    /// Notes what stands under `name`. Unknown keys are ignored; of one that is there twice the last counts.
    #[inline]
    pub(crate) fn note(&mut self, name: &str, value: V) {
        let field = match name {
            "type" => &mut self.r#type,
            "id" => &mut self.id,
            "topics" => &mut self.topics,
            "since" => &mut self.since,
            "from" => &mut self.from,
            "max_hz" => &mut self.max_hz,
            "max_delay_ms" => &mut self.max_delay_ms,
            "echo" => &mut self.echo,
            "topic" => &mut self.topic,
            "data" => &mut self.data,
            "priority" => &mut self.priority,
            "key" => &mut self.key,
            "ttl_ms" => &mut self.ttl_ms,
            "traceparent" => &mut self.traceparent,
            "encoding" => &mut self.encoding,
            "token" => &mut self.token,
            _ => return,
        };
        *field = Some(value);
    }

    /// The request that these are the fields of, and that has so many bytes as it was sent.
    pub(crate) fn message(&self, bytes: usize) -> Parsed<'a, ClientMessage<'a>> {
        let id = present(self.id).map(|raw| raw.id().ok_or_else(bad_id)).transpose()?;
        self.message_of_type(id, bytes).map_err(|error| error.with_id(id))
    }

    fn message_of_type(&self, id: Option<Id<'a>>, bytes: usize) -> Parsed<'a, ClientMessage<'a>> {
        let r#type = text(required(self.r#type, "type")?, "type")?;
        if r#type.is("publish") {
            Ok(ClientMessage::Publish(self.publish(id)?))
        } else if r#type.is("ping") {
            Ok(ClientMessage::Ping { id })
        } else if r#type.is("subscribe") {
            check_request_bytes(bytes)?;
            Ok(ClientMessage::Subscribe {
                id,
                topics: self.topics()?,
                since: self.since()?,
                max_hz: present(self.max_hz).map(max_hz).transpose()?,
                max_delay_ms: present(self.max_delay_ms).map(max_delay_ms).transpose()?,
                echo: present(self.echo).map(|raw| boolean(raw, "echo")).transpose()?,
            })
        } else if r#type.is("unsubscribe") {
            check_request_bytes(bytes)?;
            Ok(ClientMessage::Unsubscribe { id, topics: self.topics()? })
        } else if r#type.is("auth") {
            Ok(ClientMessage::Auth { id, token: check_token(text(required(self.token, "token")?, "token")?.text())? })
        } else {
            Ok(ClientMessage::Unknown)
        }
    }

    fn publish(&self, id: Option<Id<'a>>) -> Parsed<'a, Publish<'a>> {
        let topic = name(text(required(self.topic, "topic")?, "topic")?);
        check_publish_topic(&topic)?;
        Ok(Publish {
            id,
            topic,
            content: self.content()?,
            priority: match present(self.priority) {
                Some(raw) => priority(&text(raw, "priority")?.text())?,
                None => Priority::default(),
            },
            key: match present(self.key) {
                Some(raw) => Some(check_key(name(text(raw, "key")?))?),
                None => None,
            },
            ttl_ms: present(self.ttl_ms).map(|raw| unsigned(raw, "ttl_ms")).transpose()?,
            parent: present(self.traceparent).map(traceparent).transpose()?,
        })
    }

    /// `data` by its `encoding`.
    fn content(&self) -> Parsed<'a, Content<'a>> {
        let data = if V::NULL_IS_PAYLOAD { self.data } else { present(self.data) };
        let data = data.ok_or_else(|| missing("data"))?;
        let Some(encoding) = present(self.encoding) else {
            return data.payload();
        };
        let encoding = text(encoding, "encoding")?;
        if encoding.is("text") {
            text(data, "data").map(Content::Text)
        } else if encoding.is("base64") {
            text(data, "data").map(Content::Base64)
        } else {
            let message = format!("`encoding` is `text` or `base64`, or absent for {}", V::PLAIN_PAYLOAD);
            Err(ControlError::new(code::BAD_ENCODING, message))
        }
    }

    fn topics(&self) -> Parsed<'a, Vec<Cow<'a, str>>> {
        let wrong = || wrong_type("topics", "an array of strings");
        let mut topics = Vec::new();
        let is_array = required(self.topics, "topics")?.reader().each_item(|reader| {
            let topic = name(reader.text().ok_or_else(wrong)?);
            check_subscribe_topic(&topic)?;
            check_topic_count(topics.len())?;
            topics.push(topic);
            Ok(())
        })?;
        match topics.len() {
            _ if !is_array => Err(wrong()),
            0 => Err(ControlError::new(code::BAD_MESSAGE, "`topics` is empty")),
            _ => Ok(topics),
        }
    }

    fn since(&self) -> Parsed<'a, SinceList> {
        let unnamed = match present(self.from) {
            Some(raw) => beginning(&text(raw, "from")?.text())?,
            None => Beginning::default(),
        };
        let mut list = SinceList::new(unnamed);
        if let Some(raw) = present(self.since) {
            each_member(&mut raw.reader(), "since", "by topic", |topic, reader| {
                add_since(&mut list, &topic, reader.raw()?)
            })?;
        }
        Ok(list)
    }
}

/// One member of a `since`: what the client says of a topic; of one that is null, nothing.
pub(crate) fn add_since<'a, V: RawValue<'a>>(list: &mut SinceList, topic: &JsonString<'a>, entry: V) -> Parsed<'a, ()> {
    let topic = name(*topic);
    check_since_topic(&topic)?;
    list.set(&topic, present(Some(entry)).map(since_entry).transpose()?);
    Ok(())
}

/// `{epoch, seq: {PRIORITY: n}}`; lanes of unknown priorities are ignored like unknown keys.
fn since_entry<'a, V: RawValue<'a>>(entry: V) -> Parsed<'a, Since> {
    let (mut epoch, mut seq) = (None, [None; Priority::ALL.len()]);
    each_member(&mut entry.reader(), "since", "with `epoch` and `seq` for each topic", |name, reader| {
        let raw = present(Some(reader.raw()?));
        if name.is("epoch") {
            epoch = raw.map(|raw| unsigned(raw, "epoch")).transpose()?;
        } else if name.is("seq") {
            seq = raw.map_or(Ok(LaneSince::default()), lane_numbers)?;
        }
        Ok(())
    })?;
    Ok(Since { epoch: epoch.ok_or_else(|| missing("epoch"))?, seq })
}

fn lane_numbers<'a, V: RawValue<'a>>(raw: V) -> Parsed<'a, LaneSince> {
    let mut seq = LaneSince::default();
    each_member(&mut raw.reader(), "seq", "by priority", |lane, reader| {
        let raw = present(Some(reader.raw()?));
        if let Some(priority) = Priority::from_name(&lane.text()) {
            seq[priority as usize] = raw.map(|raw| unsigned(raw, "seq")).transpose()?;
        }
        Ok(())
    })?;
    Ok(seq)
}

/// An optional field: absent if it is not there or null.
fn present<'a, V: RawValue<'a>>(field: Option<V>) -> Option<V> {
    field.filter(|raw| *raw != V::NULL)
}

fn required<'a, V: RawValue<'a>>(field: Option<V>, name: &str) -> Parsed<'a, V> {
    present(field).ok_or_else(|| missing(name))
}

fn text<'a, V: RawValue<'a>>(raw: V, field: &str) -> Parsed<'a, JsonString<'a>> {
    raw.reader().text().ok_or_else(|| wrong_type(field, "a string"))
}

/// A string that has 255 bytes at most; one that is far longer is not decoded, and stays too long.
fn name(string: JsonString<'_>) -> Cow<'_, str> {
    /// Escapes of six bytes each.
    const WRITTEN_BYTES_MAX: usize = 6 * NAME_BYTES_MAX;
    match string.bytes_max() <= WRITTEN_BYTES_MAX {
        true => string.text(),
        false => Cow::Owned("x".repeat(NAME_BYTES_MAX + 1)),
    }
}

fn boolean<'a, V: RawValue<'a>>(raw: V, field: &str) -> Parsed<'a, bool> {
    raw.boolean().ok_or_else(|| wrong_type(field, "true or false"))
}

fn unsigned<'a, V: RawValue<'a>>(raw: V, field: &str) -> Parsed<'a, u64> {
    raw.unsigned().ok_or_else(|| wrong_type(field, "a whole number that is not negative"))
}

/// The trace that a message belongs to.
fn traceparent<'a>(raw: impl RawValue<'a>) -> Parsed<'a, TraceParent> {
    let value = text(raw, "traceparent")?.text();
    let wrong =
        || ControlError::new(code::BAD_MESSAGE, "`traceparent` is no value of that header of W3C Trace Context");
    TraceParent::parse(value.as_bytes()).ok_or_else(wrong)
}

fn max_hz<'a, V: RawValue<'a>>(raw: V) -> Parsed<'a, f64> {
    match raw.number() {
        Some(hz) if hz > 0.0 && hz <= RATE_HZ_MAX => Ok(hz),
        _ => Err(wrong_type("max_hz", "a number above 0, at most 1000000")),
    }
}

fn max_delay_ms<'a, V: RawValue<'a>>(raw: V) -> Parsed<'a, u16> {
    let wrong = || wrong_type("max_delay_ms", "a number of milliseconds from 0 to 1000");
    raw.number().and_then(delay_ms).ok_or_else(wrong)
}

/// Reads the object that the value ahead must be: one of `what`.
fn each_member<'a, R: ValueReader<'a>>(
    reader: &mut R,
    field: &str,
    what: &str,
    member: impl FnMut(JsonString<'a>, &mut R) -> Parsed<'a, ()>,
) -> Parsed<'a, ()> {
    if reader.each_member(member)? { Ok(()) } else { Err(wrong_type(field, &format!("{} {what}", R::OBJECT))) }
}

fn check_publish_topic<'a>(topic: &str) -> Parsed<'a, ()> {
    let name = TopicName::new(topic).map_err(|error| bad_topic(topic, &error))?;
    if name.is_engine_owned() {
        return Err(ControlError::new(code::NOT_ALLOWED, "topics that begin with `$` are the engine's own"));
    }
    Ok(())
}

fn check_subscribe_topic<'a>(topic: &str) -> Parsed<'a, ()> {
    Pattern::check(topic).map_err(|error| bad_topic(topic, &error))
}

fn check_since_topic<'a>(topic: &str) -> Parsed<'a, ()> {
    TopicName::check(topic).map_err(|error| bad_topic(topic, &error))
}

/// Whether one more topic may join `count` others.
fn check_topic_count<'a>(count: usize) -> Parsed<'a, ()> {
    if count < TOPICS_MAX {
        return Ok(());
    }
    Err(ControlError::new(code::TOO_MANY_TOPICS, "at most 1024 topics in one request"))
}

/// Whether a `subscribe` or `unsubscribe` of so many bytes is taken.
fn check_request_bytes<'a>(bytes: usize) -> Parsed<'a, ()> {
    if bytes <= REQUEST_BYTES_MAX {
        return Ok(());
    }
    let message = "a subscribe or unsubscribe request has at most 524288 bytes";
    Err(ControlError::new(code::TOO_MANY_TOPICS, message))
}

fn beginning<'a>(word: &str) -> Parsed<'a, Beginning> {
    match word {
        "newest" => Ok(Beginning::Newest),
        "oldest" => Ok(Beginning::Oldest),
        _ => Err(ControlError::new(code::BAD_MESSAGE, "`from` is `newest` or `oldest`")),
    }
}

fn check_key<'a>(key: Cow<'a, str>) -> Parsed<'a, Cow<'a, str>> {
    match key.len() {
        1..=KEY_BYTES_MAX => Ok(key),
        _ => Err(ControlError::new(code::BAD_MESSAGE, "`key` has 1 to 255 bytes")),
    }
}

fn check_token<'a>(token: Cow<'a, str>) -> Parsed<'a, Cow<'a, str>> {
    match token.len() {
        1..=TOKEN_BYTES_MAX if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(token),
        _ => {
            let message = "`token` has 1 to 8192 bytes of printable ASCII without blanks";
            Err(ControlError::new(code::BAD_MESSAGE, message))
        }
    }
}

fn priority<'a>(name: &str) -> Parsed<'a, Priority> {
    Priority::from_name(name)
        .ok_or_else(|| ControlError::new(code::BAD_PRIORITY, "`priority` is critical, high, normal or low"))
}

fn bad_id<'a>() -> ControlError<'a> {
    ControlError::new(code::BAD_MESSAGE, "`id` is a number or a string of at most 64 bytes")
}

/// The refusal of what is no object at all.
pub(crate) fn no_object<'a, R: ValueReader<'a>>() -> ControlError<'a> {
    ControlError::new(code::BAD_MESSAGE, format!("a request is {}", R::OBJECT))
}

fn missing<'a>(field: &str) -> ControlError<'a> {
    ControlError::new(code::BAD_MESSAGE, format!("`{field}` is missing"))
}

pub(crate) fn wrong_type<'a>(field: &str, what: &str) -> ControlError<'a> {
    ControlError::new(code::BAD_MESSAGE, format!("`{field}` must be {what}"))
}

/// Quotes the topic only if that keeps the message small and readable.
fn bad_topic<'a>(topic: &str, error: &dyn std::fmt::Display) -> ControlError<'a> {
    let short = (1..=NAME_BYTES_MAX).contains(&topic.len()) && !topic.contains(char::is_control);
    let message = if short { format!("{error}: `{topic}`") } else { error.to_string() };
    ControlError::new(code::BAD_TOPIC, message)
}

#[cfg(test)]
mod tests;
