//! The thread that keeps the engine's process: starts it, sends calls, and starts it again after its death.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use katena_core::{Error, ErrorKind, Result};

use super::ChildOptions;
use super::link::{Link, Shared};
use super::process::{Socket, reap};
use super::wire::{self, Call, ENGINE, Engine, Info, Order, PROTOCOL, Word};
use crate::handover::{Receiver, Sender, channel};
use crate::options::Progress;

/// How long one try to write may block; meanwhile nothing else happens.
const WRITE: Duration = Duration::from_millis(20);
/// How long a process may take to end when it is told to.
const GOODBYE: Duration = Duration::from_secs(10);
/// How long it may take once its socket is closed.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The longest pause before a start.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// What the thread is told.
pub(super) enum Message {
    Call {
        id: u64,
        call: Box<Call>,
    },
    Credit {
        id: u64,
        events: u32,
    },
    Cancel {
        id: u64,
    },
    /// Starts are allowed again.
    Restart,
    /// From the reader of process `from`.
    Ready {
        from: u64,
        info: Info,
    },
    Refused {
        from: u64,
        error: Error,
    },
    Ended {
        from: u64,
    },
    Close,
}

struct Running {
    child: Child,
    socket: Socket,
    out: VecDeque<Vec<u8>>,
    /// Bytes of the first frame that are out.
    written: usize,
}

enum State {
    Down { not_before: Instant },
    Starting { running: Running, until: Instant },
    Up(Running),
}

impl State {
    fn down() -> Self {
        Self::Down { not_before: Instant::now() }
    }

    fn running(&mut self) -> Option<&mut Running> {
        match self {
            Self::Down { .. } => None,
            Self::Starting { running, .. } | Self::Up(running) => Some(running),
        }
    }
}

/// A call that waits for a start.
struct Pending {
    id: u64,
    call: Box<Call>,
    until: Instant,
}

struct Keeper {
    options: ChildOptions,
    engine: Engine,
    progress: Option<Progress>,
    shared: Arc<Shared>,
    inbox: Receiver<Message>,
    /// For the readers.
    own: Sender<Message>,
    state: State,
    pending: VecDeque<Pending>,
    /// Processes in a row that ended without having answered a call.
    failures: u32,
    /// The number of the last process.
    process: u64,
    /// True once the process has answered a call.
    answered: Arc<AtomicBool>,
    info: Option<Info>,
    /// Who waits for the first start.
    first: Option<std_mpsc::Sender<Result<Info>>>,
}

/// Starts the thread and the first process; returns once the model is loaded there.
pub(super) fn start(engine: Engine, progress: Option<Progress>, options: ChildOptions) -> Result<Link> {
    let shared = Arc::new(Shared::new(options.calls));
    // Bounded by the calls: each has a window of events and one end.
    let (keeper, inbox) = channel(usize::MAX);
    let (first, ready) = std_mpsc::channel();
    let thread = Keeper {
        options,
        engine,
        progress,
        shared: shared.clone(),
        inbox,
        own: keeper.clone(),
        state: State::down(),
        pending: VecDeque::new(),
        failures: 0,
        process: 0,
        answered: Arc::default(),
        info: None,
        first: Some(first),
    };
    std::thread::Builder::new().name("katena-child".into()).spawn(move || thread.run())?;
    let info = ready.recv().map_err(|_| super::link::ended())??;
    Ok(Link { shared, keeper, info })
}

fn unavailable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

/// The pause before a start, after so many failures in a row: none, then 0.1 s, and twice as long each time.
fn pause(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(100).saturating_mul(1 << (n - 2).min(10)).min(MAX_PAUSE),
    }
}

impl Keeper {
    fn run(mut self) {
        let mut messages = Vec::new();
        loop {
            self.inbox.take(&mut messages, usize::MAX);
            for message in messages.drain(..) {
                if matches!(message, Message::Close) {
                    return self.close();
                }
                self.handle(message);
            }
            self.expire();
            self.start_if_due();
            if self.first.is_some() && matches!(self.state, State::Down { .. }) {
                // The first start has failed, and its caller was told.
                return;
            }
            if self.write() {
                continue;
            }
            let until = self.next_time();
            self.inbox.wait(until);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Call { id, call } => match self.state {
                State::Up(_) => self.send(id, *call),
                State::Down { .. } if self.failures >= self.options.starts => {
                    self.shared.fail(id, self.given_up());
                }
                _ => {
                    let until = Instant::now() + self.options.wait;
                    self.pending.push_back(Pending { id, call, until });
                }
            },
            Message::Credit { id, events } => self.tell(id, &Order::Credit { events }),
            Message::Cancel { id } => {
                let before = self.pending.len();
                self.pending.retain(|p| p.id != id);
                if self.pending.len() == before {
                    self.tell(id, &Order::Cancel);
                }
            }
            Message::Restart => {
                self.failures = 0;
                if let State::Down { not_before } = &mut self.state {
                    *not_before = Instant::now();
                }
            }
            Message::Ready { from, info } if from == self.process => self.ready(info),
            Message::Refused { from, error } if from == self.process => self.refused(&error),
            // One that was refused or was too late is down already.
            Message::Ended { from } if from == self.process && !matches!(self.state, State::Down { .. }) => {
                self.ended(&unavailable("the engine's process has ended"));
            }
            Message::Ready { .. } | Message::Refused { .. } | Message::Ended { .. } | Message::Close => {}
        }
    }

    /// Sends a frame to a process that serves.
    fn tell(&mut self, id: u64, order: &Order) {
        if let (State::Up(running), Ok(frame)) = (&mut self.state, wire::encode(id, order)) {
            running.out.push_back(frame);
        }
    }

    fn send(&mut self, id: u64, call: Call) {
        let now = Instant::now();
        let deadline = {
            let mut calls = self.shared.calls();
            // Dropped meanwhile.
            let Some(slot) = calls.get_mut(&id) else { return };
            slot.sent_to = Some(self.process);
            slot.deadline
        };
        let left = deadline.map(|d| d.saturating_duration_since(now));
        let millis = left.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        match wire::encode(id, &Order::Call { call, millis }) {
            Ok(frame) => {
                if let State::Up(running) = &mut self.state {
                    running.out.push_back(frame);
                }
            }
            Err(e) => {
                self.shared.fail(id, e);
            }
        }
    }

    fn ready(&mut self, info: Info) {
        if self.info.as_ref().is_some_and(|old| *old != info) {
            return self.refused(&Error::config("the model's file is another one than at the first start"));
        }
        self.state = match std::mem::replace(&mut self.state, State::down()) {
            State::Starting { running, .. } => State::Up(running),
            other => other,
        };
        if let Some(first) = self.first.take() {
            let _ = first.send(Ok(info.clone()));
        }
        self.info = Some(info);
        for pending in std::mem::take(&mut self.pending) {
            self.send(pending.id, *pending.call);
        }
    }

    /// The model can't be loaded. Who waits is told why.
    fn refused(&mut self, error: &Error) {
        self.stop();
        self.failed_start(error);
        for pending in self.pending.drain(..) {
            self.shared.fail(pending.id, error.clone());
        }
    }

    /// Counts a process that ended, and puts the next start off.
    fn failed_start(&mut self, error: &Error) {
        if self.answered.swap(false, Ordering::AcqRel) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.state = State::Down { not_before: Instant::now() + pause(self.failures) };
        // The sender stays: `run` sees by it that there was no first start.
        if let Some(first) = &self.first {
            let _ = first.send(Err(error.clone()));
        }
        if self.failures >= self.options.starts {
            let error = self.given_up();
            for pending in self.pending.drain(..) {
                self.shared.fail(pending.id, error.clone());
            }
        }
    }

    fn given_up(&self) -> Error {
        unavailable("the engine's process has ended too often without an answer and is not started again")
            .with_temporary(false)
            .with_context("count", self.failures.to_string())
    }

    /// The process is gone: its calls fail, and the next ones start another.
    fn ended(&mut self, error: &Error) {
        let status = self.stop();
        let error = error.clone().with_context("reason", status);
        self.failed_start(&error);
        let error = error.with_retry_after(pause(self.failures).max(Duration::from_millis(100)));
        let process = self.process;
        self.shared.fail_where(|slot| slot.sent_to == Some(process), &error);
    }

    /// Makes sure that the process is gone and no zombie; how it ended.
    fn stop(&mut self) -> String {
        self.shared.process.store(0, Ordering::Release);
        let (State::Starting { mut running, .. } | State::Up(mut running)) =
            std::mem::replace(&mut self.state, State::down())
        else {
            return String::new();
        };
        let _ = running.socket.shutdown(Shutdown::Both);
        reap(&mut running.child, LAST_WORDS).map_or_else(|e| e.to_string(), |status| status.to_string())
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late = Error::new(ErrorKind::Timeout, "the deadline has passed");
        for id in self.shared.fail_where(|slot| slot.deadline.is_some_and(|d| d <= now), &late) {
            self.pending.retain(|p| p.id != id);
            self.tell(id, &Order::Cancel);
        }
        let long =
            unavailable("the engine's process is being started").with_retry_after(Duration::from_secs(1));
        while let Some(first) = self.pending.front().filter(|p| p.until <= now) {
            self.shared.fail(first.id, long.clone());
            self.pending.pop_front();
        }
        if let State::Starting { until, .. } = self.state
            && until <= now
        {
            if let Some(running) = self.state.running() {
                let _ = running.child.kill();
            }
            self.ended(&unavailable("the engine's process did not load its model in time"));
        }
    }

    fn start_if_due(&mut self) {
        let State::Down { not_before } = self.state else { return };
        let first = self.first.is_some() && self.process == 0;
        if !(first || (!self.pending.is_empty() && not_before <= Instant::now())) {
            return;
        }
        if let Err(error) = self.begin() {
            self.refused(&error);
        }
    }

    fn begin(&mut self) -> Result<()> {
        self.process += 1;
        self.answered.store(false, Ordering::Release);
        let (child, socket) = self.options.command.start()?;
        self.shared.process.store(child.id(), Ordering::Release);
        self.shared.starts.fetch_add(1, Ordering::AcqRel);
        let engine = Box::new(self.engine.clone());
        let mut running = Running { child, socket, out: VecDeque::new(), written: 0 };
        let begun = self.connect(&mut running, &engine);
        let until = Instant::now() + self.options.start_timeout;
        self.state = State::Starting { running, until };
        begun
    }

    fn connect(&self, running: &mut Running, engine: &Engine) -> Result<()> {
        running.socket.set_write_timeout(Some(WRITE))?;
        let load = Order::Load { protocol: PROTOCOL, engine: Box::new(engine.clone()) };
        running.out.push_back(wire::encode(ENGINE, &load)?);
        let ear = Ear {
            from: self.process,
            shared: self.shared.clone(),
            keeper: self.own.clone(),
            answered: self.answered.clone(),
            progress: self.progress.clone(),
        };
        let socket = running.socket.try_clone()?;
        std::thread::Builder::new().name("katena-child-read".into()).spawn(move || ear.listen(socket))?;
        Ok(())
    }

    /// Writes for a moment; false if there is nothing to write.
    fn write(&mut self) -> bool {
        let Some(running) = self.state.running() else { return false };
        let Some(frame) = running.out.front() else { return false };
        match running.socket.write(&frame[running.written..]) {
            Ok(n) => {
                running.written += n;
                if running.written == frame.len() {
                    running.out.pop_front();
                    running.written = 0;
                }
            }
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                _ => {
                    // The reader sees the end and says so.
                    running.out.clear();
                    running.written = 0;
                    let _ = running.socket.shutdown(Shutdown::Both);
                }
            },
        }
        true
    }

    /// When something is due even if nothing happens.
    fn next_time(&self) -> Option<Instant> {
        let deadlines = self.shared.calls().values().filter_map(|slot| slot.deadline).min();
        let waiting = self.pending.front().map(|p| p.until);
        let start = match &self.state {
            State::Starting { until, .. } => Some(*until),
            State::Down { not_before } if !self.pending.is_empty() => Some(*not_before),
            _ => None,
        };
        [deadlines, waiting, start].into_iter().flatten().min()
    }

    /// Lets the process end by itself, then makes sure.
    fn close(mut self) {
        self.shared.fail_where(|_| true, &unavailable("the model was dropped"));
        if let State::Up(running) = &mut self.state {
            let _ = running.socket.shutdown(Shutdown::Write);
            let _ = reap(&mut running.child, GOODBYE);
        } else if let Some(running) = self.state.running() {
            let _ = running.child.kill();
        }
        self.stop();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // After a panic too: nobody waits in vain, and no process stays.
        self.shared.fail_where(|_| true, &super::link::ended());
        if let Some(running) = self.state.running() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// Reads what a process says.
struct Ear {
    from: u64,
    shared: Arc<Shared>,
    keeper: Sender<Message>,
    answered: Arc<AtomicBool>,
    progress: Option<Progress>,
}

impl Ear {
    fn listen(self, socket: Socket) {
        let mut reader = BufReader::new(socket);
        while let Ok(Some(frame)) = wire::read(&mut reader) {
            let word = frame.decode::<Word>();
            if frame.id != ENGINE {
                self.answered.store(true, Ordering::Release);
                if self.shared.hear(frame.id, self.from, word).is_err() {
                    let _ = self.keeper.try_send(Message::Cancel { id: frame.id });
                }
                continue;
            }
            let from = self.from;
            let message = match word {
                Ok(Word::Progress(part)) => {
                    if let Some(progress) = &self.progress {
                        progress(part);
                    }
                    continue;
                }
                Ok(Word::Ready(info)) => Message::Ready { from, info },
                Ok(Word::Refused(failure)) => Message::Refused { from, error: failure.into_error() },
                // What is about no call and makes no sense changes nothing.
                Ok(_) | Err(_) => continue,
            };
            let _ = self.keeper.try_send(message);
        }
        let _ = self.keeper.try_send(Message::Ended { from: self.from });
    }
}
