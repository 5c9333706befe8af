//! A server of recorded exchanges on the loopback interface, which damages them on demand.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::fault::{Fault, Wire};
use crate::rows::Row;

/// Serves `/x/<number>/…` until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    rows: Vec<Row>,
    fault: Fault,
    asked: Mutex<HashMap<usize, u32>>,
}

impl Server {
    /// Starts to serve these rows, each damaged by `fault`.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start(rows: Vec<Row>, fault: Fault) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { rows, fault, asked: Mutex::new(HashMap::new()) });
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A client that goes away is no matter of the server's.
                    let _ = serve(socket, &shared).await;
                });
            }
        });
        Ok(Self { address, task })
    }

    /// The address below which row `n` answers whatever is asked.
    pub fn base(&self, n: usize) -> String {
        format!("http://{}/x/{n}", self.address)
    }
}

/// Reads one request and gives the number of the row; `None` at the end of the connection.
async fn request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<usize>> {
    let (mut line, mut length, mut row) = (String::new(), 0, None);
    for n in 0.. {
        line.clear();
        if reader.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        if n == 0 {
            row = text.split('/').skip_while(|part| *part != "x").nth(1).and_then(|part| part.parse().ok());
        } else if text.is_empty() {
            break;
        } else if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    tokio::io::copy(&mut (&mut *reader).take(length), &mut tokio::io::sink()).await?;
    Ok(row)
}

async fn serve(socket: TcpStream, shared: &Shared) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut reader = BufReader::new(socket);
    while let Some(n) = request(&mut reader).await? {
        let Some(row) = shared.rows.get(n) else { return Ok(()) };
        let turn = {
            let mut asked = shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = asked.entry(n).or_default();
            *turn += 1;
            *turn
        };
        let Some(wire) = shared.fault.apply(row, turn) else { return Ok(()) };
        if !answer(&mut reader, &wire, n).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes the reply; false if the connection ends with it.
async fn answer(reader: &mut BufReader<TcpStream>, wire: &Wire, n: usize) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Replayed\r\nx-request-id: req_replay_{n}\r\n", wire.status);
    for (name, value) in &wire.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    let Some(step) = wire.step else {
        head.extend(["content-length: ", &wire.body.len().to_string(), "\r\n\r\n"]);
        reader.write_all(head.as_bytes()).await?;
        reader.write_all(&wire.body).await?;
        return Ok(true);
    };
    head += "transfer-encoding: chunked\r\n\r\n";
    reader.write_all(head.as_bytes()).await?;
    let end = wire.cut.unwrap_or(wire.body.len());
    let mut chunk = Vec::new();
    for (at, piece) in wire.body[..end].chunks(step).enumerate() {
        chunk.clear();
        write!(chunk, "{:x}\r\n", piece.len())?;
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        reader.write_all(&chunk).await?;
        if wire.stalls && at * step >= end / 2 {
            // Silent, until the client gives up.
            let _ = tokio::time::timeout(Duration::from_secs(30), reader.read_u8()).await;
            return Ok(false);
        }
    }
    if wire.cut.is_some() || wire.stalls {
        return Ok(false);
    }
    reader.write_all(b"0\r\n\r\n").await?;
    Ok(true)
}
