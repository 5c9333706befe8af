use std::collections::HashMap;

use lc_core::language_models::LLMResult;
use lc_core::output_parsers::StrOutputParser;
use lc_core::runnables::{Runnable as _, RunnableExt as _, RunnableLambda};
use lc_prompts::ChatPromptTemplate;
use lc_schema::Message;

use crate::Figures;

pub(crate) async fn measure(figures: &mut Figures, calls: usize) {
    let prompt = ChatPromptTemplate::new(vec![Message::system("You are {role}."), Message::human("{q}")]);
    let model = RunnableLambda::new_sync(|_messages: Vec<Message>| LLMResult {
        content: "hello".into(),
        ..LLMResult::default()
    });
    let chain = prompt.pipe(model).pipe(StrOutputParser::new());
    let input =
        || HashMap::from([("role".to_owned(), "helper".to_owned()), ("q".to_owned(), "hi there".to_owned())]);
    figures
        .time("run", "langchainrust 0.28.0", calls, || async {
            assert_eq!(chain.invoke(input(), None).await.expect("an answer"), "hello");
        })
        .await;
    let step = || RunnableLambda::new_sync(|n: u64| n);
    let ten = step().pipe(step()).pipe(step()).pipe(step()).pipe(step());
    let ten = ten.pipe(step()).pipe(step()).pipe(step()).pipe(step()).pipe(step());
    figures
        .time("ten steps", "langchainrust 0.28.0", calls, || async {
            assert_eq!(ten.invoke(1, None).await.expect("one"), 1);
        })
        .await;
}
