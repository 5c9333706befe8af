//! A server whose reply does not end before 1 GiB.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const GIB: u64 = 1 << 30;

pub struct Flood {
    pub url: String,
    written: Arc<AtomicU64>,
    gone: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Flood {
    /// Answers with `first`, then `piece` again and again.
    pub async fn start(status: u16, content_type: &'static str, first: Vec<u8>, piece: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (written, gone) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn({
            let (written, gone) = (written.clone(), gone.clone());
            async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let (written, gone) = (written.clone(), gone.clone());
                    let (first, piece) = (first.clone(), piece.clone());
                    tokio::spawn(async move {
                        // That the client goes away is what is hoped for.
                        let _gone = pour(socket, status, content_type, &first, &piece, &written).await;
                        gone.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self { url, written, gone, task }
    }

    /// Waits until the client has gone; how many bytes it had been sent by then.
    pub async fn poured(&self) -> u64 {
        let wait = async {
            while self.gone.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .expect("the client keeps its connection open");
        self.written.load(Ordering::SeqCst)
    }
}

async fn pour(
    mut socket: TcpStream,
    status: u16,
    content_type: &str,
    first: &[u8],
    piece: &[u8],
    written: &AtomicU64,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        if socket.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n");
    socket.write_all(head.as_bytes()).await?;
    let mut next = first;
    while written.load(Ordering::SeqCst) < GIB {
        let mut chunk = format!("{:x}\r\n", next.len()).into_bytes();
        chunk.extend_from_slice(next);
        chunk.extend_from_slice(b"\r\n");
        socket.write_all(&chunk).await?;
        written.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        next = piece;
    }
    socket.write_all(b"0\r\n\r\n").await
}
