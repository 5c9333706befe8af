//! Recorded exchanges of model vendors, served whole or damaged on the loopback interface and asked for by Katena's own
//! clients, over real connections.

mod clients;
mod fault;
pub mod judge;
mod report;
pub mod rows;
mod server;
mod vectors;

pub use fault::{Fault, Wire};
pub use server::Server;

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;

use crate::rows::Row;

/// How many exchanges are under way at once.
const AT_ONCE: usize = 32;

/// Serves the rows with this fault, asks for each, and reports what was understood, in the rows' order.
///
/// # Errors
/// If no port can be opened.
pub async fn run(rows: Vec<Row>, fault: Fault) -> std::io::Result<Vec<Value>> {
    let server = Server::start(rows.clone(), fault).await?;
    // Recorded bytes come at once; only where the server shall fall silent is it worth not to wait for long.
    let silence = Duration::from_millis(if fault == Fault::Stall { 200 } else { 20_000 });
    let clients = clients::Clients::new(silence);
    let asked = rows.iter().enumerate().map(|(n, row)| {
        let (clients, base) = (&clients, server.base(n));
        async move {
            let mut report = clients.ask(row, &base).await;
            report["id"] = Value::String(row.id.clone());
            report
        }
    });
    Ok(futures_util::stream::iter(asked).buffered(AT_ONCE).collect().await)
}
