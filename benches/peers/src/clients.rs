//! The same work by each client: open all streams, count the pieces of text.

use futures_util::StreamExt as _;
use tokio::task::JoinSet;

use crate::Error;

pub const NAMES: [&str; 3] = ["katena", "async-openai", "genai"];

pub async fn run(client: &str, base: &str, streams: usize) -> Result<usize, Error> {
    let mut tasks = JoinSet::new();
    match client {
        "katena" => {
            use katena_core::{ChatEvent, ChatModel as _, ChatRequest, Message};
            let model = katena_llms::OpenAiChat::compatible("m", base)?;
            for _ in 0..streams {
                let model = model.clone();
                tasks.spawn(async move {
                    let mut stream = model.stream(&ChatRequest::new([Message::user("Hi")])).await?;
                    let mut count = 0;
                    while let Some(event) = stream.next().await {
                        count += usize::from(matches!(event?, ChatEvent::Delta { .. }));
                    }
                    Ok::<_, Error>(count)
                });
            }
        }
        "async-openai" => {
            use async_openai::config::OpenAIConfig;
            use async_openai::types::chat::{
                ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequestArgs,
            };
            let config = OpenAIConfig::new().with_api_base(base.trim_end_matches('/')).with_api_key("k");
            let client = async_openai::Client::with_config(config);
            for _ in 0..streams {
                let client = client.clone();
                tasks.spawn(async move {
                    let request = CreateChatCompletionRequestArgs::default()
                        .model("m")
                        .messages([ChatCompletionRequestUserMessageArgs::default()
                            .content("Hi")
                            .build()?
                            .into()])
                        .build()?;
                    let mut stream = client.chat().create_stream(request).await?;
                    let mut count = 0;
                    while let Some(chunk) = stream.next().await {
                        count += chunk?.choices.iter().filter(|c| c.delta.content.is_some()).count();
                    }
                    Ok::<_, Error>(count)
                });
            }
        }
        "genai" => {
            use genai::adapter::AdapterKind;
            use genai::chat::{ChatMessage, ChatRequest, ChatStreamEvent};
            use genai::resolver::{AuthData, Endpoint, ServiceTargetResolver};
            use genai::{ModelIden, ServiceTarget};
            let base = base.to_owned();
            let resolver = ServiceTargetResolver::from_resolver_fn(move |target: ServiceTarget| {
                Ok(ServiceTarget {
                    endpoint: Endpoint::from_owned(base.clone()),
                    auth: AuthData::from_single("k"),
                    model: ModelIden::new(AdapterKind::OpenAI, target.model.model_name),
                })
            });
            let client = genai::Client::builder().with_service_target_resolver(resolver).build()?;
            for _ in 0..streams {
                let client = client.clone();
                tasks.spawn(async move {
                    let request = ChatRequest::new(vec![ChatMessage::user("Hi")]);
                    let mut stream = client.exec_chat_stream("gpt-m", request, None).await?.stream;
                    let mut count = 0;
                    while let Some(event) = stream.next().await {
                        count += usize::from(matches!(event?, ChatStreamEvent::Chunk(_)));
                    }
                    Ok::<_, Error>(count)
                });
            }
        }
        _ => return Err("no such client".into()),
    }
    let mut events = 0;
    while let Some(result) = tasks.join_next().await {
        events += result??;
    }
    Ok(events)
}
