//! Conversations in Redis.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{
    Client, ConnectionAddr, ErrorKind as Kind, IntoConnectionInfo, RedisError, Script, ServerErrorKind,
};
use async_trait::async_trait;
use katena_core::{ChatHistory, Error, ErrorKind, Message, Result};

use super::codec::{HistoryOptions, decode_all};

/// What is written into the database; a newer one is refused.
const VERSION: u32 = 1;
const DEFAULT_PREFIX: &str = "katena";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Keys: the session's list and the sorted set of all sessions. Arguments: its name, the time to live, "1" to start
/// afresh, the messages. A script runs alone, so a call's messages stay together.
const WRITE: &str = "
if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
for n = 4, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[n]) end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  if #ARGV >= 4 then
    if ARGV[2] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  end
end
return 1";

/// Keys: the sorted set. Arguments: the lower bound, the limit, the prefix of lists. Names of expired lists go.
const LIST: &str = "
local found, from = {}, ARGV[1]
while #found < tonumber(ARGV[2]) do
  local page = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, 200)
  if #page == 0 then break end
  for _, name in ipairs(page) do
    if redis.call('EXISTS', ARGV[3] .. name) == 0 then
      redis.call('ZREM', KEYS[1], name)
    elseif #found < tonumber(ARGV[2]) then
      found[#found + 1] = name
    end
    from = '(' .. name
  end
end
return found";

/// Conversations in a Redis server: a list for each session, and a sorted set of their names. Clones share the connection,
/// which is made anew when it breaks.
///
/// The server itself forgets a session when its time to live is over. All keys carry one hash tag, so that a cluster keeps
/// them together. A call that fails while the connection breaks may or may not have been written.
///
/// ```no_run
/// # async fn doc() -> katena_core::Result<()> {
/// use katena_core::{ChatHistory, Message};
/// use katena_memory::{HistoryOptions, RedisHistory};
/// let history = RedisHistory::connect("redis://localhost:6379", HistoryOptions::new()).await?;
/// history.append("anna", vec![Message::user("Hello")]).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisHistory {
    connection: ConnectionManager,
    address: String,
    prefix: String,
    options: HistoryOptions,
    write: Script,
    list: Script,
}

impl fmt::Debug for RedisHistory {
    /// The server's address; never user or password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisHistory")
            .field("address", &self.address)
            .field("prefix", &self.prefix)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl RedisHistory {
    /// The conversations under the prefix `katena` in the server at `url` (`redis://user:password@host:port/database`).
    ///
    /// # Errors
    /// `Config` if the URL can't be read, `Unsupported` if it leaves the machine (this build speaks no TLS: use a tunnel)
    /// or a newer version wrote the data, `Unavailable`, `Unauthenticated`.
    pub async fn connect(url: &str, options: HistoryOptions) -> Result<Self> {
        Self::named(url, DEFAULT_PREFIX, options).await
    }

    /// The conversations under this prefix of key names; it has no braces.
    ///
    /// # Errors
    /// As [`connect`](RedisHistory::connect).
    pub async fn named(url: &str, prefix: &str, options: HistoryOptions) -> Result<Self> {
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            return Err(Error::config("a prefix of Redis keys is not empty and has no braces"));
        }
        // The parser's message could quote a part of the URL, password included.
        let unreadable = |_: RedisError| Error::config("the Redis URL can't be read");
        let info = url.into_connection_info().map_err(unreadable)?;
        stays_here(info.addr())?;
        let address = info.addr().to_string();
        let client = Client::open(info).map_err(unreadable)?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::config("Redis needs a tokio runtime"));
        }
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_number_of_retries(2);
        let connection = ConnectionManager::new_with_config(client, config).await.map_err(|e| error(&e))?;
        let (write, list) = (Script::new(WRITE), Script::new(LIST));
        let this = Self { connection, address, prefix: prefix.to_owned(), options, write, list };
        this.check_version().await?;
        Ok(this)
    }

    async fn check_version(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        let key = self.key("version");
        let () = ::redis::cmd("SET")
            .arg(&key)
            .arg(VERSION)
            .arg("NX")
            .query_async::<Option<String>>(&mut connection)
            .await
            .map(drop)
            .map_err(|e| error(&e))?;
        let version: u32 =
            ::redis::cmd("GET").arg(&key).query_async(&mut connection).await.map_err(|e| error(&e))?;
        if version > VERSION {
            let message = format!("a newer Katena wrote the history (version {version}, known {VERSION})");
            return Err(Error::new(ErrorKind::Unsupported, message).with_context("prefix", &self.prefix));
        }
        Ok(())
    }

    fn key(&self, part: &str) -> String {
        format!("{{{}}}:{part}", self.prefix)
    }

    fn list_key(&self, session: &str) -> String {
        format!("{}{session}", self.key("session:"))
    }

    async fn write(&self, session: &str, messages: &[Message], afresh: bool) -> Result<()> {
        let texts = self.options.encode(messages)?;
        let mut call = self.write.prepare_invoke();
        call.key(self.list_key(session)).key(self.key("sessions"));
        call.arg(session).arg(self.options.ttl_millis().unwrap_or(0)).arg(u8::from(afresh)).arg(texts);
        let _: i64 = call.invoke_async(&mut self.connection.clone()).await.map_err(|e| error(&e))?;
        Ok(())
    }
}

/// This build speaks no TLS, and what is said in conversations does not leave the machine in plain text.
fn stays_here(address: &ConnectionAddr) -> Result<()> {
    let local = match address {
        ConnectionAddr::Tcp(host, _) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
        ConnectionAddr::Unix(_) => true,
        _ => false,
    };
    if local {
        return Ok(());
    }
    Err(Error::unsupported("TLS to Redis; reach the server by a tunnel or a local proxy"))
}

fn error(error: &RedisError) -> Error {
    let kind = match error.kind() {
        Kind::AuthenticationFailed => ErrorKind::Unauthenticated,
        Kind::Server(
            ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain | ServerErrorKind::MasterDown,
        ) => ErrorKind::Unavailable,
        _ if error.code().is_some_and(|c| matches!(c, "NOAUTH" | "WRONGPASS")) => ErrorKind::Unauthenticated,
        _ if error.code() == Some("NOPERM") => ErrorKind::PermissionDenied,
        _ if error.is_timeout() => ErrorKind::Timeout,
        Kind::Io => ErrorKind::Unavailable,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, error.to_string()).with_vendor("redis")
}

#[async_trait]
impl ChatHistory for RedisHistory {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        self.range(session, 0..usize::MAX).await
    }
    async fn append(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.write(session, &messages, false).await
    }
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.write(session, &messages, true).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.write(session, &[], true).await
    }
    async fn count(&self, session: &str) -> Result<usize> {
        let mut command = ::redis::cmd("LLEN");
        command.arg(self.list_key(session));
        command.query_async(&mut self.connection.clone()).await.map_err(|e| error(&e))
    }
    async fn range(&self, session: &str, range: Range<usize>) -> Result<Vec<Message>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let place = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let mut command = ::redis::cmd("LRANGE");
        command.arg(self.list_key(session)).arg(place(range.start)).arg(place(range.end - 1));
        let texts: Vec<String> =
            command.query_async(&mut self.connection.clone()).await.map_err(|e| error(&e))?;
        decode_all(texts)
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let from = after.map_or_else(|| "-".to_owned(), |name| format!("({name}"));
        let mut call = self.list.prepare_invoke();
        call.key(self.key("sessions")).arg(from).arg(limit).arg(self.list_key(""));
        call.invoke_async(&mut self.connection.clone()).await.map_err(|e| error(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_machine_in_plain_text() {
        let address = |url: &str| url.into_connection_info().unwrap().addr().clone();
        for url in
            ["redis://localhost", "redis://u:p@127.0.0.1:7000/2", "redis://[::1]:6379", "unix:///run/redis"]
        {
            assert!(stays_here(&address(url)).is_ok(), "{url}");
        }
        for url in ["redis://db.example.com", "redis://10.0.0.1", "redis://u:p@192.168.1.2:6379"] {
            assert_eq!(stays_here(&address(url)).unwrap_err().kind(), ErrorKind::Unsupported, "{url}");
        }
    }

    #[tokio::test]
    async fn the_password_is_in_no_error() {
        for url in
            ["redis://u:hunter2@localhost:hunter2/", "redis://u:hunter2@127.0.0.1:1/", "http://u:hunter2@x"]
        {
            let error = RedisHistory::connect(url, HistoryOptions::new()).await.unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
