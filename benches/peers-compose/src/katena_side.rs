use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use katena_core::{
    ChainExt, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, FinishReason, Message, ModelInfo,
    Part, PartKind, Result, Role, Streamed, func,
};
use katena_prompts::{ChatPrompt, vars};

use crate::Figures;

#[derive(Debug)]
struct Hello(ModelInfo);

fn hello() -> ChatResponse {
    ChatResponse::new(Message::assistant("hello"), FinishReason::Stop)
}

#[async_trait]
impl ChatModel for Hello {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
    async fn generate(&self, _request: &ChatRequest) -> Result<ChatResponse> {
        Ok(hello())
    }
    async fn stream(&self, _request: &ChatRequest) -> Result<ChatStream> {
        let pieces = ["h", "e", "l", "l", "o"].into_iter().map(|p| ChatEvent::delta(0, p));
        let end = [ChatEvent::end(0, Part::text("hello")), ChatEvent::Finished(Box::new(hello()))];
        let events = std::iter::once(ChatEvent::start(0, PartKind::Text)).chain(pieces).chain(end);
        Ok(stream::iter(events.map(Ok)).boxed())
    }
}

pub(crate) async fn measure(figures: &mut Figures, calls: usize) {
    let prompt = ChatPrompt::fstring([(Role::System, "You are {role}."), (Role::User, "{q}")])
        .expect("a good template");
    let chain = prompt.chat(Hello(ModelInfo::new("bench", "hello"))).text();
    let input = || vars! { "role" => "helper", "q" => "hi there" };
    figures
        .time("run", "katena", calls, || async {
            assert_eq!(chain.run(input()).await.expect("an answer"), "hello")
        })
        .await;
    figures
        .time("stream", "katena", calls / 4, || async {
            let mut events = chain.stream(input());
            let mut answer = None;
            while let Some(item) = events.next().await {
                if let Streamed::Output(text) = item.expect("an item") {
                    answer = Some(text);
                }
            }
            assert_eq!(answer.as_deref(), Some("hello"));
        })
        .await;
    let step = || func(async |n: u64, _run| Ok(n));
    let ten = step().then(step()).then(step()).then(step()).then(step());
    let ten = ten.then(step()).then(step()).then(step()).then(step()).then(step());
    figures
        .time("ten steps", "katena", calls, || async { assert_eq!(ten.run(1_u64).await.expect("one"), 1) })
        .await;
}
