//! Streamable HTTP over Katena's client: `rmcp` says what to send, [`HttpClient`] sends it, with its limits and redaction.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderName, HeaderValue};
use katena_core::{Error, ErrorKind, Result};
use katena_http::sse::SseEvent;
use katena_http::{Endpoint, HttpClient, HttpRequest, HttpStream, Method};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use sse_stream::Sse;

use super::options::McpOptions;

const SESSION: &str = "mcp-session-id";
const LAST_EVENT: &str = "last-event-id";
const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
const BOTH: &str = "application/json, text/event-stream";

type Failure = StreamableHttpError<Error>;
type Headers = HashMap<HeaderName, HeaderValue>;
type Events = BoxStream<'static, Result<Sse, SseError>>;

/// One server's address, headers and client.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    endpoint: Endpoint,
    path: Arc<str>,
    client: HttpClient,
    limit: usize,
}

pub(crate) fn transport(
    endpoint: Endpoint,
    options: &McpOptions,
) -> Result<StreamableHttpClientTransport<Http>> {
    // The whole address is a path below its folder: with or without a slash at its end is the server's choice.
    let base = endpoint.base().clone();
    let (folder, last) = base.path().trim_end_matches('/').rsplit_once('/').unwrap_or_default();
    let slash = if base.path().len() > 1 && base.path().ends_with('/') { "/" } else { "" };
    let path = format!("{last}{slash}");
    let mut parent = base.clone();
    parent.set_path(folder);
    let limits = &options.limits;
    let http = options.http.options().clone();
    let max_body = http.max_body.min(limits.max_message_bytes);
    let http =
        http.with_max_body(max_body).with_timeout(limits.call_timeout).with_idle_timeout(limits.call_timeout);
    let client = Http {
        endpoint: endpoint.with_base(parent.as_str())?,
        path: path.into(),
        client: HttpClient::with_options(http),
        limit: limits.max_message_bytes,
    };
    let config = StreamableHttpClientTransportConfig::with_uri(base.as_str());
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

impl Http {
    /// A request with the protocol's own headers; those of the endpoint (a key) win over nothing and lose to nothing.
    fn request(
        &self,
        method: Method,
        session: Option<&str>,
        headers: Headers,
    ) -> Result<HttpRequest, Failure> {
        let request = HttpRequest::new(method, &self.endpoint, &self.path);
        let mut request = request.map_err(StreamableHttpError::Client)?;
        for (name, value) in headers {
            let value = value.to_str().map_err(|_| unexpected("a header is no text"))?;
            request = request.with_header(name.to_string(), value);
        }
        if let Some(session) = session {
            request = request.with_header(SESSION, session);
        }
        Ok(request)
    }

    fn events(&self, stream: HttpStream) -> Events {
        let decoder = katena_http::sse::SseDecoder::new().with_max_event_bytes(self.limit);
        let events = katena_http::sse::SseStream::with_decoder(stream, decoder);
        events.map(|event| event.map(as_sse).map_err(|e| SseError::Body(Box::new(e)))).boxed()
    }
}

fn as_sse(event: SseEvent) -> Sse {
    let mut sse = Sse::default().event(event.event).data(event.data);
    sse.id = event.id.as_deref().map(str::to_owned);
    sse
}

fn unexpected(what: &'static str) -> Failure {
    StreamableHttpError::UnexpectedServerResponse(what.into())
}

/// Whether a content type is `kind`, whatever its parameters.
fn is_kind(content_type: Option<&str>, kind: &str) -> bool {
    content_type.is_some_and(|t| t.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind))
}

impl StreamableHttpClient for Http {
    type Error = Error;

    async fn post_message(
        &self,
        _uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let request = self.request(Method::Post, session_id.as_deref(), custom_headers)?;
        let request = request.with_json(&message).map_err(StreamableHttpError::Client)?;
        let stream = match self.client.open(request.with_header("accept", BOTH)).await {
            Err(e) if e.status() == Some(404) && session_id.is_some() => {
                return Err(StreamableHttpError::SessionExpired);
            }
            other => other.map_err(StreamableHttpError::Client)?,
        };
        let awaited = matches!(message, ClientJsonRpcMessage::Request(_));
        if !awaited || matches!(stream.status(), 202 | 204) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        let session = stream.header(SESSION).map(str::to_owned);
        if is_kind(stream.content_type(), EVENTS) {
            return Ok(StreamableHttpPostResponse::Sse(self.events(stream), session));
        }
        if !is_kind(stream.content_type(), JSON) {
            let kind = stream.content_type().map(|t| t.chars().take(100).collect());
            return Err(StreamableHttpError::UnexpectedContentType(kind));
        }
        let reply = stream.read(self.limit).await.map_err(StreamableHttpError::Client)?;
        let message: ServerJsonRpcMessage = reply.json().map_err(StreamableHttpError::Client)?;
        Ok(StreamableHttpPostResponse::Json(message, session))
    }

    async fn delete_session(
        &self,
        _uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Result<(), Failure> {
        let request = self.request(Method::Delete, Some(&session_id), custom_headers)?;
        match self.client.open(request).await {
            Err(e) if e.status() == Some(405) => Ok(()),
            other => other.map(drop).map_err(StreamableHttpError::Client),
        }
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Result<Events, Failure> {
        let mut request = self.request(Method::Get, session_id.as_deref(), custom_headers)?;
        if let Some(id) = last_event_id {
            request = request.with_header(LAST_EVENT, id);
        }
        let stream = match self.client.open(request.with_header("accept", EVENTS)).await {
            Err(e) if e.status() == Some(405) || e.kind() == ErrorKind::NotFound => {
                return Err(StreamableHttpError::ServerDoesNotSupportSse);
            }
            other => other.map_err(StreamableHttpError::Client)?,
        };
        if !is_kind(stream.content_type(), EVENTS) {
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        }
        Ok(self.events(stream))
    }
}
