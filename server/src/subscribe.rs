//! Job: `fanwire sub`: what its arguments ask for, followed and printed.
//! Knows: the arguments. Must never know: how messages travel, how they are printed.

use crate::args::{ProtocolArg, SubArgs};
use crate::clock;
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::feed::Wanted;
use crate::follow::{self, Plan, Sink};
use crate::printer::Printer;
use crate::signals::StopRequests;
use crate::stderr;
use crate::tls::Trust;
use crate::upgrade::Offer;

/// Runs the command.
///
/// # Errors
/// Where it cannot connect, stdout or the state cannot be written, the server refuses, or the connection breaks.
pub fn run(args: &SubArgs) -> Outcome {
    check(args)?;
    let bearer = args.bearer.bearer()?;
    let trust = Trust::for_url(&args.url, &args.tls)?;
    let stop = StopRequests::listen_on_terminal().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let (mut printer, mut ledger) = Printer::open(args)?;
    ledger.keep_only(&args.topics);
    let plan = Plan {
        wanted: Wanted {
            url: &args.url,
            topics: &args.topics,
            form: args.protocol.into(),
            max_hz: args.max_hz,
            max_delay: args.max_delay.map(|span| span.0),
            offer: Offer {
                protocol: None,
                deflate: args.deflate,
                timeout: args.timeout.0,
                ping_every: args.ping_every.0,
                token: None,
                trust: trust.as_ref(),
            },
            is_resumable: args.reconnect || args.state.is_some(),
        },
        bearer: bearer.as_ref(),
        reconnects: args.reconnect,
        count: args.count,
    };
    let end = follow::follow(&plan, &stop, &mut printer, &mut ledger);
    if args.stats {
        stderr::say("INFO", &printer.stats.summary(clock::now()));
    }
    // What was written is noted whatever happened; the first thing that went wrong is the one to be told.
    let left = printer.leave_state();
    let end = end?;
    left?;
    end.outcome(&plan, &stop, printer.messages())
}

fn check(args: &SubArgs) -> Result<(), Failure> {
    let usage = |what: String| Err(Failure::message(Exit::Usage, what));
    let without_numbers = [
        ("--json", args.json),
        ("--state", args.state.is_some()),
        ("--max-hz", args.max_hz.is_some()),
        ("--max-delay", args.max_delay.is_some()),
    ];
    if let (ProtocolArg::Raw, Some((option, _))) = (args.protocol, without_numbers.iter().find(|(_, given)| *given)) {
        return usage(format!("{option} cannot be had with --protocol raw: messages are bare there"));
    }
    follow::check_topics(&args.topics)
}
