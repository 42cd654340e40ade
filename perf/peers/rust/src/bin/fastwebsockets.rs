//! fastwebsockets with hyper: a task per connection, a broadcast channel per topic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, upgrade};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::broadcast::{Sender, channel, error::RecvError};

type Topics = Arc<Mutex<HashMap<String, Sender<Bytes>>>>;

fn topic(topics: &Topics, name: &str) -> Sender<Bytes> {
    topics.lock().unwrap().entry(name.into()).or_insert_with(|| channel(1024).0).clone()
}

async fn upgraded(
    mut request: Request<Incoming>,
    topics: Topics,
) -> Result<Response<Empty<Bytes>>, fastwebsockets::WebSocketError> {
    let path = request.uri().path().to_string();
    let (response, socket) = upgrade::upgrade(&mut request)?;
    let mut messages = topic(&topics, &path).subscribe();
    tokio::spawn(async move {
        let Ok(socket) = socket.await else { return };
        let (mut reader, mut writer) = socket.split(tokio::io::split);
        tokio::spawn(async move {
            while let Ok(frame) = reader.read_frame(&mut |_| async { Ok::<_, std::io::Error>(()) }).await {
                if frame.opcode == OpCode::Close {
                    return;
                }
            }
        });
        loop {
            match messages.recv().await {
                Ok(text) => {
                    if writer.write_frame(Frame::text(Payload::Borrowed(&text))).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    Ok(response)
}

fn main() {
    let topics = Topics::default();
    let (ready, addr) = std::sync::mpsc::channel();
    let shared = topics.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ready.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let topics = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| upgraded(request, topics.clone()));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                });
            }
        })
    });
    let mut senders: HashMap<usize, Sender<Bytes>> = HashMap::new();
    peers::run(addr.recv().unwrap(), move |number, payload| {
        let sender = senders.entry(number).or_insert_with(|| topic(&topics, &format!("/t/t{number}")));
        let _ = sender.send(payload.into());
    });
}
