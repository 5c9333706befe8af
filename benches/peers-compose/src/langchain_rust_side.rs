use std::pin::Pin;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _, stream};
use langchain_rust::chain::{Chain, LLMChainBuilder};
use langchain_rust::language_models::llm::LLM;
use langchain_rust::language_models::{GenerateResult, LLMError, LLMEvent, LLMEventStream};
use langchain_rust::prompt::{HumanMessagePromptTemplate, SystemMessagePromptTemplate};
use langchain_rust::schemas::{Message, StreamData};
use langchain_rust::{fmt_template, message_formatter, prompt_args, template_fstring};

use crate::Figures;

#[derive(Clone)]
struct Hello;

fn hello() -> GenerateResult {
    GenerateResult { generation: "hello".into(), ..GenerateResult::default() }
}

#[async_trait]
impl LLM for Hello {
    async fn generate(&self, _messages: &[Message]) -> Result<GenerateResult, LLMError> {
        Ok(hello())
    }
    async fn stream(
        &self,
        _messages: &[Message],
    ) -> Result<Pin<Box<dyn Stream<Item = Result<StreamData, LLMError>> + Send>>, LLMError> {
        Ok(Box::pin(stream::empty()))
    }
    fn generate_stream<'a>(&'a self, _messages: &'a [Message]) -> LLMEventStream<'a> {
        let pieces = ["h", "e", "l", "l", "o"].into_iter().map(|p| LLMEvent::Text(p.to_owned()));
        Box::pin(stream::iter(pieces.chain([LLMEvent::Done(hello())]).map(Ok)))
    }
}

pub(crate) async fn measure(figures: &mut Figures, calls: usize) {
    let prompt = message_formatter![
        fmt_template!(SystemMessagePromptTemplate::new(template_fstring!("You are {role}.", "role"))),
        fmt_template!(HumanMessagePromptTemplate::new(template_fstring!("{q}", "q"))),
    ];
    let chain = LLMChainBuilder::new().prompt(prompt).llm(Hello).build().expect("a chain");
    let input = || prompt_args! { "role" => "helper", "q" => "hi there" };
    figures
        .time("run", "langchain-rust 7.0.0", calls, || async {
            assert_eq!(chain.call(input()).await.expect("an answer").generation, "hello");
        })
        .await;
    figures
        .time("run", "langchain-rust 7.0.0, invoke (no parser, no span)", calls, || async {
            assert_eq!(chain.invoke(input()).await.expect("an answer"), "hello");
        })
        .await;
    figures
        .time("stream", "langchain-rust 7.0.0", calls / 4, || async {
            let mut events = chain.call_stream(input());
            let mut answer = None;
            while let Some(event) = events.next().await {
                if let LLMEvent::Done(result) = event.expect("an event") {
                    answer = Some(result.generation);
                }
            }
            assert_eq!(answer.as_deref(), Some("hello"));
        })
        .await;
}
