//! Job: the server goes on in the process that asks.
//! Knows: the stop request. Must never know: how sockets change hands.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Server;
use crate::exit::{Exit, Failure};
use crate::takeover::{self, Taker};

impl Server<'_> {
    /// Hands the sockets to the process at the other end of `stream`, once that serves. Then this one ends beside this.
    ///
    /// # Errors
    /// 69: it ends already, or the other one has not come so far. Nothing has changed then.
    pub fn hand_over(
        &self,
        stream: UnixStream,
        version: u32,
        window: Duration,
        control: Option<BorrowedFd<'_>>,
    ) -> Result<(), Failure> {
        let mut taker = takeover::offer(stream, (version, window), self.engine, control, self.stop)?;
        taker.let_go(self.stop)?;
        if !self.stop.ask_for_handover() {
            return Err(Failure::message(
                Exit::Unavailable,
                "the server ends already: the new process has its sockets",
            ));
        }
        tracing::info!("process {} takes over", taker.pid);
        let _ = self.taker.set(taker);
        Ok(())
    }

    /// Who goes on, if somebody has taken over.
    pub fn taker(&self) -> Option<&Taker> {
        self.taker.get()
    }

    /// The same, when this server is needed no more.
    pub fn into_taker(self) -> Option<Taker> {
        self.taker.into_inner()
    }
}
