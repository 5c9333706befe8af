//! The server: it answers each request with the head of a stream, and sends events once all streams are open.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

use crate::Error;

pub async fn serve(streams: usize, events: usize) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let all_open = Arc::new(Barrier::new(streams));
    loop {
        let (socket, _) = listener.accept().await?;
        let all_open = Arc::clone(&all_open);
        tokio::spawn(async move {
            let _ = answer(socket, &all_open, events).await;
        });
    }
}

async fn answer(mut socket: TcpStream, all_open: &Barrier, events: usize) -> Result<(), Error> {
    socket.set_nodelay(true)?;
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let n = socket.read(&mut piece).await?;
        request.extend_from_slice(&piece[..n]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|l| l.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0);
        if n == 0 || body.len() >= length {
            break;
        }
    }
    socket
        .write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await?;
    all_open.wait().await;
    for n in 0..events {
        let event = format!(
            "data: {{\"id\":\"chatcmpl-0123456789abcdefghijklmnop\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"some-model-2025-01-01\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{n:04}\"}},\
             \"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
        );
        chunk(&mut socket, &event).await?;
    }
    let end = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\
               \"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    chunk(&mut socket, end).await?;
    socket.write_all(b"0\r\n\r\n").await?;
    // The client closes.
    while socket.read(&mut piece).await? > 0 {}
    Ok(())
}

async fn chunk(socket: &mut TcpStream, text: &str) -> Result<(), Error> {
    socket.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await?;
    Ok(())
}
