//! Date and time.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use katena_core::{Error, Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use schemars::JsonSchema;
use serde::Deserialize;

/// Tells date, time and weekday in a time zone.
///
/// Zones by name come from the system's time zone database; where there is none, as in an empty container, `UTC` and fixed
/// offsets such as `+02:00` are left, and a name is an error that says so.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use std::time::{Duration, SystemTime};
/// use katena_agents::tools::CurrentTime;
/// use katena_core::{Run, Tool, ToolCall};
/// let tool = CurrentTime::new().with_now(|| SystemTime::UNIX_EPOCH + Duration::from_secs(86_400));
/// let call = ToolCall::new("1", "current_time", r#"{"time_zone":"+02:00"}"#);
/// assert_eq!(tool.call(call, &Run::new()).await?.text(), "Friday, 1970-01-02 02:00:00 (+02:00)");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct CurrentTime {
    spec: ToolSpec,
    zone: String,
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl fmt::Debug for CurrentTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentTime").field("zone", &self.zone).finish_non_exhaustive()
    }
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    /// A time zone's name such as `Europe/Zurich`, `UTC`, or an offset such as `+02:00`. The user's own if left out.
    #[serde(default)]
    time_zone: Option<String>,
}

impl Default for CurrentTime {
    fn default() -> Self {
        Self::new()
    }
}

impl CurrentTime {
    /// A tool named `current_time` that tells UTC unless asked for another zone.
    pub fn new() -> Self {
        let what = "Tells the present date, weekday and time. Use it whenever an answer depends on today.";
        Self {
            spec: ToolSpec::of::<Args>("current_time", what),
            zone: "UTC".to_owned(),
            now: Arc::new(SystemTime::now),
        }
    }

    /// Sets the zone that is meant when none is named.
    pub fn with_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = zone.into();
        self
    }

    /// Sets where the time comes from, for tests.
    pub fn with_now(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.now = Arc::new(now);
        self
    }
}

fn zone(name: &str) -> Result<TimeZone> {
    if name.eq_ignore_ascii_case("utc") || name == "Z" {
        return Ok(TimeZone::UTC);
    }
    let unknown = || {
        let shown: String = name.chars().take(64).collect();
        Error::invalid_output("there is no time zone of this name on this machine")
            .with_context("time_zone", shown)
    };
    if let Some(rest) = name.strip_prefix(['+', '-']) {
        let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
        let number = |text: &str, most: i32| {
            let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<i32>().ok().filter(|n| digits && *n <= most)
        };
        let (hours, minutes) = number(hours, 14).zip(number(minutes, 59)).ok_or_else(unknown)?;
        let seconds = (hours * 60 + minutes) * 60;
        let signed = if name.starts_with('-') { -seconds } else { seconds };
        return Offset::from_seconds(signed).map(TimeZone::fixed).map_err(|_| unknown());
    }
    // The database is a folder of files: nothing but a zone's name goes there.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+' | b'/');
    if name.len() > 64 || name.starts_with('/') || !name.bytes().all(plain) {
        return Err(unknown());
    }
    TimeZone::get(name).map_err(|_| unknown())
}

#[async_trait]
impl Tool for CurrentTime {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let args: Args = call.parse()?;
        run.context().check()?;
        let name = args.time_zone.as_deref().map(str::trim).filter(|n| !n.is_empty());
        let name = name.unwrap_or(&self.zone);
        let zone = zone(name).map_err(|e| e.with_context("tool", "current_time"))?;
        let now = Timestamp::try_from((self.now)()).map_err(|e| {
            Error::unexpected("the machine's clock stands outside of all time").with_source(e)
        })?;
        let shown = now.to_zoned(zone).strftime("%A, %Y-%m-%d %H:%M:%S (%:z").to_string();
        let fixed = name.starts_with(['+', '-']);
        Ok(if fixed { format!("{shown})") } else { format!("{shown} {name})") }.into())
    }
}
