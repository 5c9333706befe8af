//! Checkpoints on a real PostgreSQL against the contract suite: `KATENA_TEST_POSTGRES_URL`.
#![allow(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stderr, reason = "says why tests are skipped")]

use std::sync::atomic::{AtomicU32, Ordering};

use katena_core::{ErrorKind, Graph, NodeContext};
use katena_postgres::{PgCheckpoints, Pool};

/// A database that no other test uses; without a server the tests are skipped, or fail if servers are required.
async fn database() -> Option<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Ok(url) = std::env::var("KATENA_TEST_POSTGRES_URL") else {
        let required = std::env::var("KATENA_REQUIRE_SERVERS").is_ok_and(|v| v == "1");
        assert!(!required, "KATENA_TEST_POSTGRES_URL is not set, and KATENA_REQUIRE_SERVERS=1");
        eprintln!("skipped: KATENA_TEST_POSTGRES_URL is not set");
        return None;
    };
    let name = format!("checkpoints_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let client = Pool::new(&url).unwrap().get().await.unwrap();
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
    url.rsplit_once('/').map(|(server, _)| format!("{server}/{name}"))
}

async fn fresh() -> Option<PgCheckpoints> {
    Some(PgCheckpoints::new(Pool::new(&database().await?).unwrap()).await.unwrap())
}

katena_testkit::checkpoint_store_contract!(real_postgres, fresh());

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_start_at_once_share_the_tables() {
    let Some(url) = database().await else { return };
    let starts: Vec<_> = (0..8)
        .map(|n: u32| {
            let pool = Pool::new(&url).unwrap();
            tokio::spawn(async move {
                let graph = Graph::<u32>::new("add").node("add", async |n: u32, _ctx: NodeContext| Ok(n + 1));
                let graph = graph.entry("add").finish("add").build().unwrap();
                let graph = graph.with_checkpoints(PgCheckpoints::new(pool).await.unwrap());
                graph.start(n.to_string(), n).await.unwrap().finished().unwrap()
            })
        })
        .collect();
    for (n, start) in (1..).zip(starts) {
        assert_eq!(start.await.unwrap(), n);
    }
}

#[tokio::test]
async fn a_newer_version_is_refused() {
    let Some(url) = database().await else { return };
    let pool = Pool::new(&url).unwrap();
    PgCheckpoints::new(pool.clone()).await.unwrap();
    let newer = "UPDATE katena_checkpoint_tables SET version = 2";
    pool.get().await.unwrap().batch_execute(newer).await.unwrap();
    assert_eq!(PgCheckpoints::new(pool).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    let pool = Pool::new("postgres://x@127.0.0.1:1/db").unwrap();
    assert_eq!(PgCheckpoints::new(pool).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
