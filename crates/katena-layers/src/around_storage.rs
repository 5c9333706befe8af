//! The wrapper of [`around`](crate::around) for histories, memories and record stores.

use std::ops::Range;

use async_trait::async_trait;
use katena_core::{
    ChatHistory, Context, Memory, Message, RecallRequest, RecordRequest, RecordStore, Result, SourceRecord,
};

use crate::around::{Around, Call, Weight, Wrapped, give};

fn call(context: &Context) -> Call<'_> {
    Call { context, weight: Weight::default() }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: Around> ChatHistory for Wrapped<L, dyn ChatHistory> {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        self.layer.call(call(&Context::new()), || self.inner.messages(session)).await
    }
    async fn append(&self, session: &str, mut messages: Vec<Message>) -> Result<()> {
        let append = || self.inner.append(session, std::mem::take(&mut messages));
        self.layer.once(call(&Context::new()), append).await
    }
    async fn replace(&self, session: &str, mut messages: Vec<Message>) -> Result<()> {
        let replace = || self.inner.replace(session, give::<L, _>(&mut messages));
        self.layer.call(call(&Context::new()), replace).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.layer.call(call(&Context::new()), || self.inner.clear(session)).await
    }
    async fn count(&self, session: &str) -> Result<usize> {
        self.layer.call(call(&Context::new()), || self.inner.count(session)).await
    }
    async fn range(&self, session: &str, range: Range<usize>) -> Result<Vec<Message>> {
        self.layer.call(call(&Context::new()), || self.inner.range(session, range.clone())).await
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.layer.call(call(&Context::new()), || self.inner.sessions(after, limit)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: Around> Memory for Wrapped<L, dyn Memory> {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        self.layer.call(call(&request.context), || self.inner.recall(request)).await
    }
    async fn record(&self, mut request: RecordRequest) -> Result<()> {
        let context = request.context.clone();
        self.layer.once(call(&context), || self.inner.record(std::mem::take(&mut request))).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.layer.call(call(&Context::new()), || self.inner.clear(session)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: Around> RecordStore for Wrapped<L, dyn RecordStore> {
    async fn get(&self, namespace: &str, uri: &str) -> Result<Option<SourceRecord>> {
        self.layer.call(call(&Context::new()), || self.inner.get(namespace, uri)).await
    }
    async fn put(&self, namespace: &str, record: SourceRecord) -> Result<()> {
        self.layer.call(call(&Context::new()), || self.inner.put(namespace, record.clone())).await
    }
    async fn remove(&self, namespace: &str, uri: &str) -> Result<()> {
        self.layer.call(call(&Context::new()), || self.inner.remove(namespace, uri)).await
    }
    async fn uris(&self, namespace: &str, scope: Option<&str>) -> Result<Vec<String>> {
        self.layer.call(call(&Context::new()), || self.inner.uris(namespace, scope)).await
    }
    async fn fact(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        self.layer.call(call(&Context::new()), || self.inner.fact(namespace, name)).await
    }
    async fn set_fact(&self, namespace: &str, name: &str, value: &str) -> Result<()> {
        self.layer.call(call(&Context::new()), || self.inner.set_fact(namespace, name, value)).await
    }
    async fn clear(&self, namespace: &str) -> Result<()> {
        self.layer.call(call(&Context::new()), || self.inner.clear(namespace)).await
    }
}
