//! Replays a folder of recorded exchanges through the clients.

fn main() {}
