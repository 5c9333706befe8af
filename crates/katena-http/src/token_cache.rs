//! A token that is kept until it grows old.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::lock::Mutex;
use katena_core::{Error, Result};
use serde_json::Value;

use crate::Secret;

/// A token is replaced this long before it ends.
const EARLY: Duration = Duration::from_secs(300);

/// A token that has just come.
pub(crate) struct Fresh {
    token: Secret,
    lasts: Duration,
}

impl Fresh {
    pub(crate) fn of(reply: &Value) -> Result<Self> {
        let token = reply.get("access_token").and_then(Value::as_str).map(Secret::new);
        let token = token
            .filter(|t| !t.is_empty())
            .ok_or_else(|| Error::invalid_output("the reply has no access token"))?;
        let lasts = reply.get("expires_in").and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
        // A server that does not say is asked again next time.
        Ok(Self { token, lasts: Duration::from_secs(lasts.unwrap_or(0).min(86_400)) })
    }
}

struct Kept {
    token: Secret,
    until: Instant,
}

/// One token for all callers; while it is fetched, the others wait for it.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Option<Kept>>);

impl Cache {
    pub(crate) async fn get(&self, fetch: impl Future<Output = Result<Fresh>>) -> Result<Secret> {
        let mut kept = self.0.lock().await;
        let left =
            kept.as_ref().map_or(Duration::ZERO, |k| k.until.saturating_duration_since(Instant::now()));
        match &*kept {
            Some(kept) if left > EARLY => return Ok(kept.token.clone()),
            _ => {}
        }
        match fetch.await {
            Ok(fresh) => {
                let token = fresh.token.clone();
                *kept = Some(Kept { token: fresh.token, until: Instant::now() + fresh.lasts });
                Ok(token)
            }
            Err(error) => match &*kept {
                Some(kept) if kept.until > Instant::now() => {
                    tracing::warn!(%error, "no new access token yet; the old one is still good");
                    Ok(kept.token.clone())
                }
                _ => Err(error),
            },
        }
    }
}
