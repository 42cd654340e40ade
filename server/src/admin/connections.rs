//! Job: the admin port's connections: how many, how long each, and who goes when one more comes.
//! Knows: sockets, TLS, HTTP/1.1 as far as its time-outs. Must never know: what is asked.
//!
//! Bounded: [`CONNECTIONS_MAX`] at once; one more takes the place of the oldest, so that strangers who hold theirs open keep nobody
//! out. Those that have become a WebSocket are counted apart (`state::TUNNELS_MAX`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::secrets::Secrets;

/// Connections at once.
pub const CONNECTIONS_MAX: usize = 128;
/// Time for a TLS handshake, and for each request's head, the time before it included.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// After so long a connection takes no more requests.
const LIFETIME: Duration = Duration::from_secs(60);
/// Time for the last one.
const LAST_ANSWER: Duration = Duration::from_secs(20);
/// Who takes nothing of an answer for so long is gone.
const SEND_TIMEOUT_MS: u32 = 20_000;
/// Longest head of a request, and what is read ahead of a body.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// Where there are no descriptors, it is waited until some are given back.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What comes in, and to what.
pub struct Door {
    pub listener: TcpListener,
    pub secrets: watch::Receiver<Secrets>,
    pub app: Router,
}

impl Door {
    /// Serves whoever comes, until it is ended. Connections that are there then are cut off.
    pub async fn attend(self, mut ended: watch::Receiver<bool>) {
        let open = Open::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = ended.wait_for(|ended| *ended) => break,
            };
            match accepted {
                Ok((stream, _)) => self.take(stream, &open),
                Err(error) => {
                    tracing::debug!("admin: nobody is accepted just now: {error}");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        open.end();
    }

    fn take(&self, stream: TcpStream, open: &Open) {
        let _ = sockopt::set_tcp_user_timeout(&stream, SEND_TIMEOUT_MS);
        let _ = stream.set_nodelay(true);
        let (acceptor, app, seat) = (self.secrets.borrow().acceptor.clone(), self.app.clone(), open.seat());
        let number = seat.number;
        let task = tokio::spawn(async move {
            let _seat = seat;
            let served = match acceptor {
                Some(acceptor) => match timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => serve(stream, app).await,
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("no TLS handshake in time".to_owned()),
                },
                None => serve(stream, app).await,
            };
            if let Err(error) = served {
                tracing::debug!("admin: a connection: {error}");
            }
        });
        open.took(number, task.abort_handle());
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, app: Router) -> Result<(), String> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = match timeout(LIFETIME, connection.as_mut()).await {
        Ok(served) => served,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            match timeout(LAST_ANSWER, connection).await {
                Ok(served) => served,
                Err(_) => return Err("it has not taken its last answer in time".to_owned()),
            }
        }
    };
    served.map_err(|error| error.to_string())
}

/// The connections that are open, by the order in which they came.
#[derive(Clone, Default)]
struct Open(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    next: u64,
    /// `None`: its task is being made.
    tasks: BTreeMap<u64, Option<AbortHandle>>,
}

/// A connection's place, which it gives back at its end.
struct Seat {
    open: Open,
    number: u64,
}

impl Open {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if need be the oldest connection's.
    fn seat(&self) -> Seat {
        let mut table = self.table();
        let oldest = if table.tasks.len() >= CONNECTIONS_MAX { table.tasks.pop_first() } else { None };
        let number = table.next;
        table.next += 1;
        table.tasks.insert(number, None);
        drop(table);
        // Its task is dropped later: it gives back a place that is another's by then, and is not found.
        if let Some((_, Some(task))) = oldest {
            task.abort();
        }
        Seat { open: self.clone(), number }
    }

    fn took(&self, number: u64, task: AbortHandle) {
        if let Some(place) = self.table().tasks.get_mut(&number) {
            *place = Some(task);
        }
    }

    fn end(&self) {
        let tasks = std::mem::take(&mut self.table().tasks);
        tasks.into_values().flatten().for_each(|task| task.abort());
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.table().tasks.remove(&self.number);
    }
}

/// What connections may take, for a person.
pub fn memory() -> String {
    // Read and write buffers of both sides, and a task.
    let bytes = (CONNECTIONS_MAX + super::state::TUNNELS_MAX) * (4 * HEAD_BYTES_MAX) + super::metrics::BYTES_MAX;
    format!(
        "beside that, at most {:.1} MiB: the admin port's connections and metrics",
        bytes as f64 / f64::from(1 << 20)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_takes_the_oldest_ones_place() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let open = Open::default();
            let come = || {
                let seat = open.seat();
                let number = seat.number;
                let task = tokio::spawn(async move {
                    let _seat = seat;
                    std::future::pending::<()>().await;
                });
                open.took(number, task.abort_handle());
                task
            };
            let mut tasks: Vec<_> = (0..CONNECTIONS_MAX).map(|_| come()).collect();
            tokio::task::yield_now().await;
            assert!(tasks.iter().all(|task| !task.is_finished()));
            let newest = come();
            assert!((&mut tasks[0]).await.is_err_and(|error| error.is_cancelled()));
            assert!(tasks[1..].iter().all(|task| !task.is_finished()) && !newest.is_finished());
            assert_eq!(open.table().tasks.len(), CONNECTIONS_MAX);
            newest.abort();
            assert!(newest.await.is_err());
            assert_eq!(open.table().tasks.len(), CONNECTIONS_MAX - 1, "its place is free");
            open.end();
            assert!(tasks.pop().unwrap().await.is_err());
        });
    }
}
