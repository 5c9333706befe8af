//! A few connections to one server, made when needed.

use std::fmt;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use katena_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

const CONNECTIONS: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// At most eight connections to one server. Clones share them.
///
/// ```
/// use katena_postgres::Pool;
/// let pool = Pool::new("postgres://me:secret@localhost:5432/db").unwrap();
/// assert!(!format!("{pool:?}").contains("secret"));
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    config: Config,
    idle: Mutex<Vec<Client>>,
    permits: Arc<Semaphore>,
}

impl fmt::Debug for Pool {
    /// The server's address; never user or password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.config.get_hosts()).entries(self.0.config.get_ports()).finish()
    }
}

/// A connection; goes back when dropped, unless it is broken.
pub struct Lent {
    client: Option<Client>,
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.pool).finish()
    }
}

/// Without a runtime tokio panics; this is an error instead.
fn runtime() -> Result<()> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::config("PostgreSQL needs a tokio runtime").with_source(e)),
    }
}

impl Deref for Lent {
    type Target = Client;
    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref(&self) -> &Client {
        self.client.as_ref().expect("a lent connection is there until it is dropped")
    }
}

impl DerefMut for Lent {
    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("a lent connection is there until it is dropped")
    }
}

impl Lent {
    /// Closes the connection instead of giving it back.
    pub fn discard(mut self) {
        drop(self.client.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(client) = self.client.take().filter(|c| !c.is_closed()) {
            self.pool.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
        }
    }
}

impl Pool {
    /// A pool for the server at `url` (`postgres://user:password@host:port/database`); nothing is connected yet.
    ///
    /// # Errors
    /// `Config` if the URL can't be read; `Unsupported` if it leaves the machine and plain text is not allowed by
    /// `sslmode=disable`: this build speaks no TLS.
    pub fn new(url: &str) -> Result<Self> {
        // The parser's message could quote a part of the URL, password included.
        let mut config: Config =
            url.parse().map_err(|_| Error::config("the PostgreSQL URL can't be read"))?;
        encryption(&config)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("katena");
        }
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        Ok(Self(Arc::new(Inner { config, idle: Mutex::default(), permits })))
    }

    /// A connection that has just answered, or a new one; waits while eight are lent.
    ///
    /// # Errors
    /// `Unavailable` if the server can't be reached, `Unauthenticated`, `NotFound` without the database, `Config` without
    /// a tokio runtime.
    pub async fn get(&self) -> Result<Lent> {
        runtime()?;
        let permit =
            self.0.permits.clone().acquire_owned().await.map_err(|e| Error::unexpected(e.to_string()))?;
        loop {
            let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(client) = idle else { break };
            // A connection that the server has ended may not know it yet; an answer is the only proof.
            let answer = tokio::time::timeout(PING_TIMEOUT, client.check_connection()).await;
            if matches!(answer, Ok(Ok(()))) {
                return Ok(Lent { client: Some(client), pool: self.clone(), _permit: permit });
            }
        }
        let client = self.connect().await?;
        Ok(Lent { client: Some(client), pool: self.clone(), _permit: permit })
    }

    async fn connect(&self) -> Result<Client> {
        let (client, connection) = self.0.config.connect(NoTls).await.map_err(|e| error(&e))?;
        // Its end shows in the client: every call on it fails.
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }
}

/// This build speaks no TLS. What stays on the machine needs none; else the URL must say that it may be read on the way.
fn encryption(config: &Config) -> Result<()> {
    let stays_here = |host: &Host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    match config.get_ssl_mode() {
        SslMode::Disable => Ok(()),
        SslMode::Prefer
            if config.get_hosts().iter().all(stays_here)
                && config.get_hostaddrs().iter().all(|ip| ip.is_loopback()) =>
        {
            Ok(())
        }
        SslMode::Prefer => Err(Error::unsupported(
            "TLS to PostgreSQL; reach the server by a tunnel or a local proxy, or allow plain text with sslmode=disable",
        )),
        _ => Err(Error::unsupported(
            "TLS to PostgreSQL (sslmode=require); reach the server by a tunnel or a local proxy",
        )),
    }
}

/// From the driver's error; carries the server's message and SQLSTATE, not the values.
pub fn error(error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        let cause = std::error::Error::source(error).map(|s| format!(": {s}")).unwrap_or_default();
        // No answer of the server: it is down, was cut off, or speaks something else.
        let kind = if error.code().is_none() { ErrorKind::Unavailable } else { ErrorKind::Unexpected };
        return Error::new(kind, format!("{error}{cause}")).with_vendor("postgres");
    };
    let code = db.code();
    let kind = match code.code().get(..2).unwrap_or_default() {
        "08" | "53" | "55" | "57" | "40" if *code != SqlState::DISK_FULL => ErrorKind::Unavailable,
        "22" => ErrorKind::InvalidInput,
        "28" => ErrorKind::Unauthenticated,
        "3D" => ErrorKind::NotFound,
        "0A" => ErrorKind::Unsupported,
        _ if *code == SqlState::INSUFFICIENT_PRIVILEGE => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, db.message().to_owned()).with_vendor("postgres").with_context("sqlstate", code.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_machine_in_plain_text_unasked() {
        for url in [
            "postgres://u:p@localhost/db",
            "postgres://u:p@127.0.0.1:5433/db",
            "postgres://u:p@[::1]/db",
            "postgres://u:p@db.example.com/db?sslmode=disable",
            "host=/run/postgresql user=u",
        ] {
            assert!(Pool::new(url).is_ok(), "{url}");
        }
        for url in [
            "postgres://u:p@db.example.com/db",
            "postgres://u:p@10.0.0.1/db",
            "postgres://u:p@localhost,db.example.com/db",
            "postgres://u:p@localhost/db?sslmode=require",
        ] {
            assert_eq!(Pool::new(url).unwrap_err().kind(), ErrorKind::Unsupported, "{url}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let pool = Pool::new("postgres://someone:hunter2@localhost:5433/db").unwrap();
        assert_eq!(format!("{pool:?}"), r#"[Tcp("localhost"), 5433]"#);
        let broken = Pool::new("postgres://someone:hunter2@localhost:hunter2/db").unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::Config);
        assert!(!format!("{broken:?}").contains("hunter2"));
    }
}
