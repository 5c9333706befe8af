//! The engine's side: a program that answers over its standard input.

use std::collections::HashMap;
use std::future::Future;
use std::io::{BufReader, Write};
use std::pin::pin;
use std::sync::{Arc, mpsc as std_mpsc};
use std::task::{Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use katena_core::{
    Cancel, ChatModel, Context, Document, EmbedRequest, Embedder, Error, ErrorKind, RerankRequest, Reranker,
    Result, Source,
};
use tokio::sync::{Semaphore, mpsc};

use super::process::{MARK, Socket, own_socket};
use super::wire::{self, Call, ENGINE, Engine, Event, Failure, Info, Order, PROTOCOL, Reply, WINDOW, Word};
use crate::{LlamaChat, LlamaEmbedder, LlamaReranker};

/// Calls that are answered side by side; more are refused.
const MAX_CALLS: usize = 4096;
/// How long an engine may take to end once its program is gone.
const LAST_STEP: Duration = Duration::from_secs(10);

/// Serves the program that started this one, until that ends or lets go of the model.
///
/// For a program of its own that [`ChildCommand::new`](super::ChildCommand::new) names.
///
/// # Errors
/// `Config` if this program was not started as an engine; `InvalidInput` if the first frame is none of ours. An error of
/// loading goes to the other side.
pub fn serve() -> Result<()> {
    serve_on(own_socket()?, || {
        std::thread::sleep(LAST_STEP);
        // Still computing, with nobody left to compute for.
        std::process::abort();
    })
}

/// Serves if this program was started as an engine by [`ChildCommand::this_program`](super::ChildCommand::this_program).
/// Call it first in `main`, and return if it says so.
///
/// ```
/// # fn main() -> katena_core::Result<()> {
/// if katena_llama_cpp::child::run_if_child()? {
///     return Ok(());
/// }
/// // … the program itself
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`serve`].
pub fn run_if_child() -> Result<bool> {
    if std::env::var_os(MARK).is_none_or(|v| v != "1") {
        return Ok(false);
    }
    serve()?;
    Ok(true)
}

/// A loaded engine.
enum Served {
    Chat(LlamaChat),
    Embedder(LlamaEmbedder),
    Reranker(LlamaReranker),
}

impl Served {
    fn load(engine: Engine, out: &Out) -> Result<Self> {
        let told = {
            let out = out.clone();
            let last = std::sync::atomic::AtomicU32::new(u32::MAX);
            move |part: f32| {
                // At most a hundred frames.
                let percent = (part * 100.0) as u32;
                if last.swap(percent, std::sync::atomic::Ordering::Relaxed) != percent {
                    out.say(ENGINE, &Word::Progress(part));
                }
            }
        };
        match engine {
            Engine::Chat { path, options } => {
                LlamaChat::load(path, options.with_progress(told)).map(Self::Chat)
            }
            Engine::Embedder { path, options } => {
                LlamaEmbedder::load(path, options.with_progress(told)).map(Self::Embedder)
            }
            Engine::Reranker { path, options } => {
                LlamaReranker::load(path, options.with_progress(told)).map(Self::Reranker)
            }
        }
    }

    fn info(&self) -> Info {
        match self {
            Self::Chat(model) => Info::Chat(model.info().clone()),
            Self::Embedder(model) => Info::Embedder(model.info().clone()),
            Self::Reranker(model) => {
                Info::Reranker { model: model.model().to_owned(), max_tokens: model.max_tokens() }
            }
        }
    }

    /// The answer of a call that does not stream.
    async fn answer(&self, call: Call, context: Context) -> Result<Reply> {
        match (self, call) {
            (Self::Chat(model), Call::Generate(request)) => {
                let response = model.generate(&request.with_context(context)).await?;
                Ok(Reply::Response(Box::new(wire::finite(response))))
            }
            (Self::Chat(model), Call::PromptTokens(request)) => {
                Ok(Reply::Tokens(model.prompt_tokens(&request)?))
            }
            (Self::Chat(model), Call::SaveSession { path, request }) => {
                Ok(Reply::Tokens(model.save_session(path, &request.with_context(context)).await?))
            }
            (Self::Chat(model), Call::LoadSession(path)) => {
                Ok(Reply::Tokens(model.load_session(path).await?))
            }
            (Self::Chat(model), Call::Stats) => Ok(Reply::Engine(model.stats())),
            (Self::Embedder(model), Call::Stats) => Ok(Reply::Batches(model.stats())),
            (Self::Reranker(model), Call::Stats) => Ok(Reply::Batches(model.stats())),
            (Self::Embedder(model), Call::Embed { texts, role }) => {
                let request = EmbedRequest::documents(texts).with_role(role).with_context(context);
                let response = model.embed(&request).await?;
                Ok(Reply::Vectors { vectors: response.vectors, usage: response.usage })
            }
            (Self::Reranker(model), Call::Rerank { query, texts, top_k }) => {
                let places = texts.into_iter().enumerate();
                let documents = places
                    .map(|(n, text)| Document::new(text, Source::new("")).with_id(n.to_string()))
                    .collect();
                let mut request = RerankRequest::new(query, documents).with_context(context);
                request.top_k = top_k;
                let ranked = model.rerank(request).await?;
                let place =
                    |id: &str| id.parse().map_err(|_| Error::unexpected("a document's id was changed"));
                let ranked =
                    ranked.iter().map(|s| Ok((place(&s.item.id)?, s.score))).collect::<Result<_>>()?;
                Ok(Reply::Ranked(ranked))
            }
            _ => Err(Error::invalid_input("this engine does not answer such calls")),
        }
    }
}

/// The way to the program. What waits is bounded by the calls and their windows.
#[derive(Clone)]
struct Out(std_mpsc::Sender<Vec<u8>>);

impl Out {
    fn say(&self, id: u64, word: &Word) {
        let bytes = wire::encode(id, word).or_else(|e| wire::encode(id, &Word::Failed(Failure::of(&e))));
        if let Ok(bytes) = bytes {
            // Without a writer the program is gone.
            let _ = self.0.send(bytes);
        }
    }

    fn fail(&self, id: u64, error: &Error) {
        self.say(id, &Word::Failed(Failure::of(error)));
    }
}

/// Serves on `socket`; when the other side is gone, `at_end` runs on a thread of its own.
pub(super) fn serve_on(socket: Socket, at_end: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    let first = wire::read(&mut reader)?
        .ok_or_else(|| Error::invalid_input("the engine was given nothing to load"))?;
    let engine = match first.decode()? {
        Order::Load { protocol: PROTOCOL, engine } => *engine,
        Order::Load { .. } => {
            return Err(Error::config("program and engine are of different versions of Katena"));
        }
        _ => return Err(Error::invalid_input("the engine was given no model to load")),
    };

    let (frames, to_write) = std_mpsc::channel::<Vec<u8>>();
    let writer = std::thread::Builder::new().name("katena-child-out".into()).spawn(move || {
        let mut socket = socket;
        for frame in to_write {
            if socket.write_all(&frame).is_err() {
                break;
            }
        }
        // The reading half ends too.
        let _ = socket.shutdown(std::net::Shutdown::Both);
    })?;
    let (orders, commands) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("katena-child-in".into()).spawn(move || {
        while let Ok(Some(frame)) = wire::read(&mut reader) {
            if orders.send((frame.id, frame.decode::<Order>())).is_err() {
                return;
            }
        }
        drop(orders);
        at_end();
    })?;

    let out = Out(frames);
    match Served::load(engine, &out) {
        Err(e) => out.say(ENGINE, &Word::Refused(Failure::of(&e))),
        Ok(model) => {
            out.say(ENGINE, &Word::Ready(model.info()));
            block_on(drive(&model, commands, &out));
        }
    }
    drop(out);
    // A panic of the writer has ended the socket.
    let _ = writer.join();
    Ok(())
}

/// A call under way.
struct Running {
    cancel: Cancel,
    credit: Arc<Semaphore>,
}

/// Answers calls side by side until no more can come.
async fn drive(model: &Served, mut orders: mpsc::UnboundedReceiver<(u64, Result<Order>)>, out: &Out) {
    let mut tasks = FuturesUnordered::new();
    let mut running: HashMap<u64, Running> = HashMap::new();
    loop {
        let order = if tasks.is_empty() {
            orders.recv().await
        } else {
            match select(pin!(orders.recv()), tasks.next()).await {
                Either::Left((order, _)) => order,
                Either::Right((done, _)) => {
                    if let Some(id) = done {
                        running.remove(&id);
                    }
                    continue;
                }
            }
        };
        let Some((id, order)) = order else { return };
        match order {
            Ok(Order::Call { call, millis }) => {
                if id == ENGINE || running.contains_key(&id) || running.len() >= MAX_CALLS {
                    out.fail(id, &Error::new(ErrorKind::Unavailable, "the engine can't take this call"));
                    continue;
                }
                let cancel = Cancel::new();
                let mut context = Context::new().with_cancel(cancel.clone());
                context.deadline = millis.and_then(|m| Instant::now().checked_add(Duration::from_millis(m)));
                let credit = Arc::new(Semaphore::new(WINDOW as usize));
                running.insert(id, Running { cancel, credit: credit.clone() });
                tasks.push(answer(model, out, id, call, context, credit));
            }
            Ok(Order::Credit { events }) => {
                if let Some(call) = running.get(&id) {
                    let room = (WINDOW as usize).saturating_sub(call.credit.available_permits());
                    call.credit.add_permits(room.min(events as usize));
                }
            }
            Ok(Order::Cancel) => {
                if let Some(call) = running.get(&id) {
                    call.cancel.cancel();
                }
            }
            Ok(Order::Load { .. }) => {
                out.fail(id, &Error::invalid_input("the engine has loaded its model already"));
            }
            Err(e) => out.fail(id, &Error::invalid_input(e.message().to_owned()).with_source(e)),
        }
    }
}

/// Answers one call; its number.
async fn answer(
    model: &Served,
    out: &Out,
    id: u64,
    call: Call,
    context: Context,
    credit: Arc<Semaphore>,
) -> u64 {
    let result = match (model, call) {
        (Served::Chat(model), Call::Stream(request)) => {
            let cancel = context.cancel.clone();
            let request = request.with_context(context);
            cancel.guard(stream(model, out, id, &request, &credit)).await
        }
        (model, call) => {
            let cancel = context.cancel.clone();
            let reply = cancel.guard(model.answer(call, context)).await;
            reply.map(|reply| out.say(id, &Word::Reply(reply)))
        }
    };
    if let Err(e) = result {
        out.fail(id, &e);
    }
    id
}

/// Passes events on as fast as the reader takes them.
async fn stream(
    model: &LlamaChat,
    out: &Out,
    id: u64,
    request: &katena_core::ChatRequest,
    credit: &Semaphore,
) -> Result<()> {
    let mut events = model.stream(request).await?;
    loop {
        let permit = credit.acquire().await.map_err(|_| Error::cancelled())?;
        permit.forget();
        let Some(event) = events.next().await else {
            return Err(Error::new(ErrorKind::Unavailable, "the answer broke off"));
        };
        let event = Event::of(event?)?;
        let last = matches!(event, Event::Finished(_));
        out.say(id, &Word::Event(event));
        if last {
            return Ok(());
        }
    }
}

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread; the engine needs no more of a runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
