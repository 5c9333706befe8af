//! HTTP for Katena: client, timeouts, SSE decoder, endpoints, secrets, outbound-URL guard.
