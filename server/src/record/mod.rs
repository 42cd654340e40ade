//! Job: `fanwire record`: a subscription becomes MCAP files.
//! Knows: the arguments. Must never know: how messages travel, how they are written.

mod arguments;
mod batch;
mod file;
mod files;
mod recorder;

use std::collections::BTreeMap;

pub use arguments::RecordArgs;

use crate::args::ProtocolArg;
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::feed;
use crate::follow::{self, Plan, Sink};
use crate::ledger::Ledger;
use crate::signals::StopRequests;
use crate::tls::Trust;
use crate::units::{bytes_for_people, grouped, some};
use crate::upgrade::Offer;

use self::files::{Files, Wanted};
use self::recorder::Recorder;

/// Silence of the server after which it is pinged.
const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(15);

/// Runs the command.
///
/// # Errors
/// Where it cannot connect, a file cannot be written, the server refuses, or the connection breaks.
pub fn run(args: &RecordArgs) -> Outcome {
    check(args)?;
    let bearer = args.bearer.bearer()?;
    let trust = Trust::for_url(&args.url, &args.tls)?;
    let stop = StopRequests::listen_on_terminal().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let about =
        BTreeMap::from([("url".to_owned(), args.url.to_string()), ("topics".to_owned(), args.topics.join(" "))]);
    let files = Wanted {
        path: args.output.clone(),
        max_bytes: args.max_bytes.map(|size| size.0),
        every: args.every.map(|span| span.0),
        flush_every: args.flush_every.0,
        compression: args.compression.into(),
        about,
    };
    let files = Files::new(files, files::create)?;
    let queue_bytes_max = usize::try_from(args.queue_bytes.0).unwrap_or(usize::MAX);
    let mut recorder = Recorder::start(files, queue_bytes_max, args.stats)?;
    let plan = Plan {
        wanted: feed::Wanted {
            url: &args.url,
            topics: &args.topics,
            form: args.protocol.into(),
            max_hz: None,
            max_delay: None,
            offer: Offer {
                protocol: None,
                deflate: false,
                timeout: args.timeout.0,
                ping_every: PING_EVERY,
                token: None,
                trust: trust.as_ref(),
            },
            is_resumable: args.reconnect,
        },
        bearer: bearer.as_ref(),
        reconnects: args.reconnect,
        count: args.count,
    };
    let end = follow::follow(&plan, &stop, &mut recorder, &mut Ledger::default());
    let messages = recorder.messages();
    let lost = recorder.stats.lost();
    // The file is ended whatever happened; the first thing that went wrong is the one to be told.
    let finished = recorder.finish();
    let end = end?;
    let totals = finished?;
    tracing::info!(
        "recorded {} messages in {}, {}; {} were lost on the way",
        grouped(totals.messages),
        some(totals.files, "file"),
        bytes_for_people(totals.bytes as f64),
        grouped(lost)
    );
    end.outcome(&plan, &stop, messages)
}

fn check(args: &RecordArgs) -> Result<(), Failure> {
    let usage = |what: String| Err(Failure::message(Exit::Usage, what));
    if args.protocol == ProtocolArg::Raw {
        return usage("--protocol raw has no numbers and no times: nothing to record".into());
    }
    follow::check_topics(&args.topics)?;
    if args.output.file_name().is_none() {
        return usage(format!("{} names no file", args.output.display()));
    }
    Ok(())
}
