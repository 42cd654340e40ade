//! tokio-tungstenite: a task per connection, a broadcast channel per topic. The argument is the read buffer's size.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{Sender, channel, error::RecvError};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

type Topics = Arc<Mutex<HashMap<String, Sender<Utf8Bytes>>>>;

fn topic(topics: &Topics, name: &str) -> Sender<Utf8Bytes> {
    topics.lock().unwrap().entry(name.into()).or_insert_with(|| channel(1024).0).clone()
}

async fn connection(stream: TcpStream, topics: Topics, config: WebSocketConfig) {
    let mut path = String::new();
    let note = |request: &Request, response: Response| {
        path = request.uri().path().to_string();
        Ok(response)
    };
    stream.set_nodelay(true).unwrap();
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async_with_config(stream, note, Some(config)).await else { return };
    let mut messages = topic(&topics, &path).subscribe();
    drop(topics);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(text) => if socket.send(Message::Text(text)).await.is_err() { return },
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            received = socket.next() => if !matches!(received, Some(Ok(_))) { return },
        }
    }
}

fn main() {
    let mut config = WebSocketConfig::default();
    if let Some(bytes) = std::env::args().nth(1) {
        config = config.read_buffer_size(bytes.parse().expect("the size of a read buffer"));
    }
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
                tokio::spawn(connection(stream, shared.clone(), config));
            }
        })
    });
    let mut senders: HashMap<usize, Sender<Utf8Bytes>> = HashMap::new();
    peers::run(addr.recv().unwrap(), move |number, payload| {
        let sender = senders.entry(number).or_insert_with(|| topic(&topics, &format!("/t/t{number}")));
        let _ = sender.send(payload.into());
    });
}
