//! Job: questions that take a running server, from whoever serves HTTP to the thread that has the server.
//! Knows: a queue. Must never know: what is asked.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use tokio::sync::oneshot;

use crate::operate::Server;

/// Questions that may wait at the desk of what is answered at once.
pub const QUESTIONS_MAX: usize = 64;

type Question = Box<dyn for<'a> FnOnce(&Server<'a>) + Send>;

enum Item {
    Question(Question),
    End,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Too many wait already.
    Busy,
    /// The server ends.
    Ending,
}

/// Where questions are asked.
#[derive(Clone)]
pub struct Inbox(SyncSender<Item>);

impl Inbox {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn ask<A: Send + 'static>(
        &self,
        question: impl for<'a> FnOnce(&Server<'a>) -> A + Send + 'static,
    ) -> Result<A, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let asked: Question = Box::new(move |server| {
            // Who has gone meanwhile needs none.
            if !answer.is_closed() {
                let _ = answer.send(question(server));
            }
        });
        self.0.try_send(Item::Question(asked)).map_err(|error| match error {
            TrySendError::Full(_) => NoAnswer::Busy,
            TrySendError::Disconnected(_) => NoAnswer::Ending,
        })?;
        answered.await.map_err(|_| NoAnswer::Ending)
    }
}

/// Where questions are answered.
pub struct Desk {
    questions: Receiver<Item>,
    end: SyncSender<Item>,
}

/// Ends a desk.
pub struct Closing(SyncSender<Item>);

impl Desk {
    /// A desk, and where it is asked. Besides the question that is being answered, so many may wait.
    pub fn new(questions_max: usize) -> (Inbox, Desk) {
        let (inbox, questions) = sync_channel(questions_max);
        (Inbox(inbox.clone()), Desk { questions, end: inbox })
    }

    /// Answers until somebody ends it. Those who wait when the server is to end are told so: each could take its time.
    pub fn attend(self, server: &Server<'_>) {
        while let Ok(Item::Question(question)) = self.questions.recv() {
            match server.is_over() {
                true => drop(question),
                false => question(server),
            }
        }
    }

    /// By which it is ended.
    pub fn closing(&self) -> Closing {
        Closing(self.end.clone())
    }
}

impl Closing {
    /// Ends it, behind what waits, when the question in hand is answered.
    pub fn end(&self) {
        let _ = self.0.send(Item::End);
    }
}
