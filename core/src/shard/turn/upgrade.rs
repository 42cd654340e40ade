//! From accept to the 101: the upgrade request, and who may come in.

use std::net::{IpAddr, SocketAddr};

use crate::access::{Allowed, Grants};
use crate::config::{PublishAccess, nanoseconds};
use crate::driver::Driver;
use crate::event::{Event, Protocol};
use crate::origin;
use crate::proto::close::CloseCode;
use crate::proto::deflate;
use crate::proto::handshake::{Refusal, Upgrade};
use crate::proto::request::{Request, RequestLimits, RequestScanner};
use crate::proto::subscribe::SinceList;
use crate::proto::target::{Endpoint, Target};
use crate::proto::topic::TopicName;
use crate::shard::Shard;
use crate::shard::admission::{By, Site};
use crate::shard::clients::{Handshake, Moment, Phase};
use crate::shard::lanes::Form;
use crate::shard::options::Options;
use crate::shard::turn::subscribe::{Asking, SubscribeError};
use crate::shard::waiters::Cause;
use crate::telemetry::is_sys;
use crate::types::TopicId;
use crate::usdt;

/// Seconds after which a refused client may try again.
pub(super) const RETRY_AFTER_S: u32 = 5;

/// What an upgrade request comes to.
pub(super) enum Verdict {
    Refused(Refusal),
    /// It is looked at again when this is gone; `None`: when the host has decided.
    Waits(Option<Cause>),
    Accepted(Box<Accepted>),
}

/// What was agreed.
pub(super) struct Accepted {
    response: Vec<u8>,
    protocol: Protocol,
    topics: Vec<(String, TopicId)>,
    path: String,
    may_publish: bool,
    /// `None`: all but publishing is allowed.
    grants: Option<Grants>,
    /// permessage-deflate was agreed, with this window for what is sent.
    deflate: Option<u8>,
    echo: bool,
    max_delay_ms: u16,
}

impl<D: Driver> Shard<D> {
    pub(super) fn on_accepted(&mut self, slot: u32, listener: u16, peer: Option<SocketAddr>) {
        self.clients.open(slot, self.pace.now_ns);
        self.subscriptions.open(slot, Form::Raw);
        self.stats.accepted += 1;
        usdt::accept(self.number.into(), slot, self.clients[slot].generation, self.clients.open_count());
        #[cfg(any(test, fuzzing))]
        self.trace_accepted(slot);
        let is_within = self.shared.enter();
        let is_ending = self.is_ending();
        // What a proxy brings is counted for its client, as soon as that is known.
        let is_brought = self.rules.trusts_peer(self.shared.listening.get(usize::from(listener)), peer);
        let is_counted = !is_ending && !is_brought;
        if is_counted && let Err(refusal) = self.count_address(slot, Site::of(peer)) {
            return self.refuse_address(slot, peer, is_within, &refusal);
        }
        let goes = if is_within || is_ending { None } else { self.admission.pending.make_room(peer, self.pace.now_ns) };
        if is_ending || !is_within && goes.is_none() {
            self.uncount_address(slot);
            self.stats.refused += 1;
            self.stats.refused_full += u64::from(!is_ending);
            let why = if is_ending { "the server is shutting down" } else { "too many connections" };
            self.refuse(slot, &Refusal::unavailable(why, RETRY_AFTER_S));
            return;
        }
        for goes in goes.into_iter().chain(self.admission.pending.admit(slot, peer, self.pace.now_ns)) {
            self.displace(goes);
        }
        let limits = RequestLimits { head_bytes_max: self.rules.limits.request_bytes_max, ..RequestLimits::default() };
        let handshake = Handshake { scanner: RequestScanner::new(limits), request_len: 0, listener, peer, is_brought };
        self.clients.extra(slot).handshake = Some(handshake);
        let by = self.pace.now_ns + nanoseconds(self.rules.limits.handshake_timeout);
        self.clients.wheel.arm(slot, by);
    }

    /// The address has all that it may have. While this connection lingers it can be pushed out, as others that are not
    /// upgraded: so those that are refused take no place from others.
    fn refuse_address(&mut self, slot: u32, peer: Option<SocketAddr>, is_within: bool, refusal: &Refusal) {
        self.stats.refused += 1;
        let goes = if is_within { self.admission.pending.admit(slot, peer, self.pace.now_ns) } else { None };
        self.refuse(slot, refusal);
        if let Some(goes) = goes.filter(|&goes| goes != slot) {
            self.displace(goes);
        }
    }

    /// Ends a connection that was not upgraded, to make room for a newer one.
    pub(super) fn displace(&mut self, slot: u32) {
        self.stats.refused += 1;
        self.stats.refused_waiting += 1;
        if self.clients[slot].phase != Phase::Handshake {
            // It has had its answer.
            self.cut(slot, CloseCode::ABNORMAL.to_u16());
            return;
        }
        self.refuse(slot, &Refusal::unavailable("too many connections wait for their upgrade", RETRY_AFTER_S));
        // Nothing is waited for: it is closed as soon as this is sent.
        self.clients[slot].flags.has_ended = true;
    }

    /// More of the upgrade request has arrived.
    pub(super) fn on_request_bytes(&mut self, slot: u32, bytes: &[u8]) {
        let most = self.rules.limits.request_bytes_max;
        let extra = self.clients.extra(slot);
        extend_within(&mut extra.inbox, bytes, most);
        let Some(handshake) = &mut extra.handshake else { return };
        if handshake.request_len > 0 {
            // Waiting for the registry; what comes meanwhile are the first frames.
            self.check_held_bytes(slot);
            return;
        }
        match handshake.scanner.scan(&extra.inbox) {
            Ok(None) => self.check_held_bytes(slot),
            Ok(Some(len)) => {
                handshake.request_len = len;
                if self.learn_client(slot) && self.admit_page(slot) {
                    self.try_upgrade(slot);
                }
            }
            Err(error) => self.refuse_upgrade(slot, &Refusal::from(error)),
        }
    }

    /// The request is complete: decides.
    pub(super) fn try_upgrade(&mut self, slot: u32) {
        let extra = self.clients.extra(slot);
        let Some(Handshake { request_len: len, peer, listener, .. }) = extra.handshake else { return };
        let inbox = std::mem::take(&mut extra.inbox);
        // A request line may name hundreds of topics.
        self.pace.work.input.spend(32 + (len / 8) as u32);
        match self.judge(slot, &inbox[..len], listener, peer) {
            Verdict::Waits(cause) => {
                self.clients.extra(slot).inbox = inbox;
                self.hold_input(slot, cause);
            }
            Verdict::Refused(refusal) => {
                let blame = self.blame(&inbox[..len]);
                self.refuse_by(slot, &refusal, blame);
            }
            Verdict::Accepted(accepted) => self.upgrade(slot, inbox, *accepted),
        }
    }

    fn upgrade(&mut self, slot: u32, mut inbox: Vec<u8>, accepted: Accepted) {
        let Accepted { response, protocol, topics, path, may_publish, grants, deflate, echo, max_delay_ms } = accepted;
        self.admission.leave(slot);
        self.release_input(slot);
        let extra = self.clients.extra(slot);
        let (len, peer) = extra.handshake.take().map_or((0, None), |h| (h.request_len, h.peer));
        extra.control.extend_from_slice(&response);
        let conn = &mut self.clients[slot];
        conn.phase = Phase::Open;
        conn.protocol = protocol;
        conn.flags.may_deflate = deflate.is_some();
        conn.flags.may_publish = may_publish;
        conn.flags.is_hosts = protocol == Protocol::Raw && topics.is_empty();
        conn.heard = Moment::at(self.pace.now_ns);
        conn.message = conn.heard;
        if let Some(grants) = grants {
            self.admission.granted.give(slot, grants, self.pace.now_ns);
        }
        // A narrower window than ours is served uncompressed.
        let made = self.subscriptions.of(slot).made;
        self.subscriptions.open(slot, Form::of(protocol, deflate == Some(15)));
        self.subscriptions.of_mut(slot).made = made;
        self.note_opened(slot);
        self.trace_opened(slot, peer, protocol);
        self.stats.upgraded += 1;
        let by = self.blame(&inbox[..len]).unwrap_or(By::Client);
        self.shared.counted.addresses.on_success(self.admission.place(slot), by);
        if self.rules.events.capacity > 0 {
            self.clients[slot].flags.was_announced = true;
            let connection = self.clients.id(slot);
            self.tell_host(Event::Opened { connection, peer, protocol, path });
        }
        self.admission.senders.open(slot);
        self.begin_lifetime(slot);
        self.arm_liveness(slot);
        if protocol != Protocol::Raw {
            self.welcome(slot);
            self.tell_newcomer_of_end(slot);
        }
        let options = Options::new(None, Some(max_delay_ms), Some(echo));
        self.clients[slot].flags.skips_own |= options.skips_own;
        let since = SinceList::default();
        for (i, (topic, opened)) in topics.iter().enumerate() {
            let asking = Asking { id: None, options, since: &since };
            match self.subscribe_to_name(slot, topic, Some(*opened), &asking) {
                Ok(id) if i == 0 => self.publishes_to(slot, id, topic),
                Ok(_) => {}
                // `judge` has opened the topics; only limits are left to fail.
                Err(_) => self.evict(slot, "too many subscriptions"),
            }
        }
        self.settle_subject(slot);
        self.clients[slot].flags.must_look = true;
        self.clients.mark_dirty(slot);
        inbox.drain(..len);
        if !inbox.is_empty() {
            let early_ns = self.count_bytes(slot, inbox.len());
            self.on_frames(slot, &mut inbox);
            if early_ns > 0 {
                self.pause_sender(slot, early_ns);
            }
        }
        self.refresh(slot);
    }

    /// The topic that a raw connection publishes to; if its record is still to be read, it is known by its name until then.
    fn publishes_to(&mut self, slot: u32, id: TopicId, name: &str) {
        self.clients[slot].publishes_to = id;
        if self.clients[slot].flags.may_publish && self.topics.by_id(id).is_none() {
            self.clients[slot].flags.awaits_topic = true;
            self.clients.extra(slot).publishes_to = Some(name.into());
        }
    }

    fn judge(&mut self, slot: u32, head: &[u8], listener: u16, peer: Option<SocketAddr>) -> Verdict {
        let request = match Request::parse(head) {
            Ok(request) => request,
            Err(error) => return Verdict::Refused(Refusal::from(error)),
        };
        let target = match Target::parse(request.target()) {
            Ok(target) => target,
            Err(_) => return Verdict::Refused(Refusal::bad_request("malformed request target")),
        };
        let config = self.rules.clone();
        if target.endpoint == Endpoint::Other {
            return Verdict::Refused(Refusal::not_found("no such path: connect to / or to /t/TOPIC"));
        }
        let upgrade = match Upgrade::check(&request) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return Verdict::Refused(refusal),
        };
        // Whoever lets observers in has looked at where they come from.
        let is_observer = self.shared.is_for_observers(listener);
        let origins = &config.access.allowed_origins;
        if let Some(origin) = request.origin().filter(|_| !is_observer)
            && !origins.is_empty()
            && !origin::is_allowed(origin, origins)
        {
            return Verdict::Refused(Refusal::forbidden("this origin may not connect"));
        }
        let [json, msgpack, batch, lz4] = Protocol::NAMED.map(Protocol::name);
        let chosen = upgrade.select_protocol(&[json, msgpack, batch, lz4, Protocol::RAW_BY_NAME]);
        let protocol = Protocol::NAMED.into_iter().find(|p| chosen == Some(p.name())).unwrap_or(Protocol::Raw);
        let deflate = match deflate::negotiate(upgrade.extensions()) {
            Ok(agreement) => agreement.filter(|_| config.compression.deflate),
            Err(_) => return Verdict::Refused(Refusal::bad_request("malformed Sec-WebSocket-Extensions")),
        };
        if protocol == Protocol::Raw && target.topics.is_empty() && !config.events.messages {
            return Verdict::Refused(Refusal::not_found(
                "nothing is served here without a topic: connect to /t/TOPIC, or offer the subprotocol fanwire.json.v1",
            ));
        }
        let granted = if is_observer { Ok(Some(Grants::of_observer())) } else { self.ask_host(slot, &request, peer) };
        let grants = match granted {
            Ok(grants) => grants,
            Err(verdict) => return verdict,
        };
        if let Err(verdict) = self.enter_subject(slot, grants.as_ref()) {
            return verdict;
        }
        let may_publish = match (&grants, config.access.publish) {
            (Some(grants), _) => match (protocol, target.topics.first()) {
                (Protocol::Raw, Some(topic)) => grants.publish.has(topic),
                _ => grants.publish != Allowed::Nothing,
            },
            // Who comes by a proxy is not on this machine, whatever the proxy says.
            (None, access) => may_publish(access, peer.filter(|_| !self.shared.is_proxied(listener)), &request),
        };
        let may_publish =
            may_publish && !(protocol == Protocol::Raw && target.topics.first().is_some_and(|t| is_sys(t)));
        let topics = match self.open_topics(slot, &target, grants.as_ref(), may_publish && protocol == Protocol::Raw) {
            Ok(topics) => topics,
            Err(verdict) => return verdict,
        };
        let mut response = Vec::with_capacity(256);
        let extension = deflate.map(|agreement| agreement.to_string());
        upgrade.write_response(&mut response, chosen, extension.as_deref());
        Verdict::Accepted(Box::new(Accepted {
            response,
            protocol,
            topics,
            path: target.path.to_owned(),
            may_publish,
            grants,
            deflate: deflate.map(|agreement| agreement.server_window_bits),
            echo: target.echo,
            max_delay_ms: target.max_delay_ms,
        }))
    }

    /// Opens the topics that a target names. `will_publish`: to the first of them.
    ///
    /// # Errors
    /// One is malformed, or not granted, or cannot be opened, or not yet.
    fn open_topics(
        &mut self,
        slot: u32,
        target: &Target<'_>,
        grants: Option<&Grants>,
        will_publish: bool,
    ) -> Result<Vec<(String, TopicId)>, Verdict> {
        let mut topics = Vec::with_capacity(target.topics.len());
        for topic in &target.topics {
            if TopicName::check(topic).is_err() {
                return Err(Verdict::Refused(Refusal::bad_request("malformed topic name")));
            }
            let is_hidden = is_sys(topic) && !self.may_have_sys(grants);
            if is_hidden || grants.is_some_and(|grants| !grants.subscribe.has(topic)) {
                return Err(Verdict::Refused(Refusal::forbidden("subscribing to this is not allowed")));
            }
            match self.open_for_subscriber(slot, topic, will_publish && topics.is_empty()) {
                Ok(opened) => topics.push((topic.to_string(), opened)),
                Err(SubscribeError::Busy) => return Err(Verdict::Waits(Some(Cause::Names))),
                Err(_) => {
                    let refusal = Refusal::unavailable("no more topics can be made", RETRY_AFTER_S);
                    return Err(Verdict::Refused(refusal));
                }
            }
        }
        Ok(topics)
    }
}

/// Appends, growing by doubling up to `most` and what came last: so much and no more is in the memory sum.
fn extend_within(inbox: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let needed = inbox.len() + bytes.len();
    if needed > inbox.capacity() {
        let doubled = (2 * inbox.capacity()).min(most);
        inbox.reserve_exact(needed.max(doubled) - inbox.len());
    }
    inbox.extend_from_slice(bytes);
}

fn is_loopback(peer: SocketAddr) -> bool {
    match peer.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

/// Whether a client may publish where the host is not asked.
fn may_publish(access: PublishAccess, peer: Option<SocketAddr>, request: &Request<'_>) -> bool {
    match access {
        PublishAccess::Nobody => false,
        PublishAccess::Everyone => true,
        PublishAccess::Loopback => {
            peer.is_some_and(is_loopback) && request.origin().is_none() && !request.is_forwarded()
        }
    }
}
