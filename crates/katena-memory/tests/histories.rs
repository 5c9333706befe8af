//! The contract suite on every history, and what each promises besides.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use katena_core::{ChatHistory, ChatHistoryExt as _, ErrorKind, ManualClock, Message};
use katena_memory::{HistoryOptions, JsonlHistory, MemoryHistory};

fn turn(n: usize) -> Vec<Message> {
    vec![Message::user(format!("q{n}")), Message::assistant(format!("a{n}"))]
}

const HOUR: Duration = Duration::from_secs(3600);

fn jsonl() -> (JsonlHistory, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (JsonlHistory::open(dir.path().join("chats"), HistoryOptions::new()).unwrap(), dir)
}

katena_testkit::chat_history_contract!(in_memory, async { MemoryHistory::new() });
katena_testkit::chat_history_contract!(in_memory_with_ttl, async {
    MemoryHistory::new().with_options(HistoryOptions::new().with_ttl(HOUR))
});
katena_testkit::chat_history_contract!(jsonl_files, async { jsonl() });

/// Writes a message that is too large for every history.
async fn refuses_large_messages(history: &dyn ChatHistory) {
    let large = vec![Message::user("ok"), Message::user("x".repeat(200))];
    let error = history.append("s", large.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    history.append("s", turn(1)).await.unwrap();
    assert_eq!(history.replace("s", large).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(history.messages("s").await.unwrap(), turn(1), "nothing of a refused call is kept");
}

fn small() -> HistoryOptions {
    HistoryOptions::new().with_max_message_bytes(150)
}

#[tokio::test]
async fn large_messages_are_refused() {
    refuses_large_messages(&MemoryHistory::new().with_options(small())).await;
    let dir = tempfile::tempdir().unwrap();
    refuses_large_messages(&JsonlHistory::open(dir.path(), small()).unwrap()).await;
    #[cfg(feature = "sqlite")]
    refuses_large_messages(&sqlite::history(&dir.path().join("db"), small())).await;
}

#[tokio::test]
async fn idle_conversations_in_memory_expire_by_the_clock() {
    let clock = ManualClock::new();
    let history = MemoryHistory::new()
        .with_options(HistoryOptions::new().with_ttl(HOUR))
        .with_clock(Arc::new(clock.clone()));
    history.append("a", turn(1)).await.unwrap();
    clock.advance(HOUR / 2);
    history.append("b", turn(2)).await.unwrap();
    clock.advance(Duration::from_millis(1_799_999));
    assert_eq!(history.session_count().await.unwrap(), 2);
    clock.advance(Duration::from_millis(1));
    assert_eq!(history.messages("a").await.unwrap(), []);
    assert_eq!(history.count("a").await.unwrap(), 0);
    assert_eq!(history.sessions(None, 9).await.unwrap(), ["b"]);
    history.append("b", turn(3)).await.unwrap();
    clock.advance(Duration::from_millis(3_599_999));
    assert_eq!(history.tail("b", 3).await.unwrap().len(), 3, "each write begins the time anew");
    history.append("a", turn(4)).await.unwrap();
    assert_eq!(history.messages("a").await.unwrap(), turn(4), "what had expired does not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_jsonl() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    common::two_processes_keep_order("two_processes_on_jsonl", place, |folder| async {
        JsonlHistory::open(folder, HistoryOptions::new()).unwrap()
    })
    .await;
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::Path;

    use katena_memory::SqliteHistory;
    use katena_sqlite::Database;

    use super::*;

    pub(super) fn history(path: &Path, options: HistoryOptions) -> SqliteHistory {
        SqliteHistory::new(Database::open(path).unwrap(), options).unwrap()
    }

    fn fresh(options: HistoryOptions) -> (SqliteHistory, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (history(&dir.path().join("db"), options), dir)
    }

    katena_testkit::chat_history_contract!(sqlite_file, async { fresh(HistoryOptions::new()) });
    katena_testkit::chat_history_contract!(sqlite_with_ttl, async {
        fresh(HistoryOptions::new().with_ttl(HOUR))
    });

    #[tokio::test(flavor = "multi_thread")]
    async fn two_processes_on_sqlite() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("db");
        common::two_processes_keep_order(
            "sqlite::two_processes_on_sqlite",
            place.to_str().unwrap(),
            |path| async move { history(Path::new(&path), HistoryOptions::new()) },
        )
        .await;
    }

    #[tokio::test]
    async fn idle_sessions_in_sqlite_expire() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("db")).unwrap();
        let history = SqliteHistory::new(database.clone(), HistoryOptions::new().with_ttl(HOUR)).unwrap();
        for name in ["old", "older", "new"] {
            history.append(name, turn(1)).await.unwrap();
        }
        let age = "UPDATE katena_sessions SET written = written - 3600000 WHERE name <> CAST('new' AS BLOB)";
        database.write(move |tx| Ok(tx.execute(age, [])?)).await.unwrap();
        assert_eq!(history.count("old").await.unwrap(), 0);
        assert_eq!(history.sessions(None, 9).await.unwrap(), ["new"]);
        history.append("old", turn(2)).await.unwrap();
        assert_eq!(history.messages("old").await.unwrap(), turn(2));
        assert_eq!(history.remove_expired().await.unwrap(), 1);
        let left = database
            .read(|db| Ok(db.query_row("SELECT count(*) FROM katena_messages", [], |r| r.get::<_, i64>(0))?));
        assert_eq!(left.await.unwrap(), 4, "messages go with their session");
    }

    #[tokio::test]
    async fn a_newer_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("db")).unwrap();
        SqliteHistory::new(database.clone(), HistoryOptions::new()).unwrap();
        let newer = "UPDATE katena_components SET version = 99 WHERE name = 'history'";
        database.write(move |tx| Ok(tx.execute(newer, [])?)).await.unwrap();
        let error = SqliteHistory::new(database, HistoryOptions::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use katena_memory::PgHistory;
    use katena_postgres::{Pool, error};
    use katena_testkit::fixtures::unique_name;

    use super::*;

    fn pool() -> Option<Pool> {
        Some(Pool::new(&common::url("KATENA_TEST_POSTGRES_URL")?).unwrap())
    }

    async fn fresh(options: HistoryOptions) -> Option<PgHistory> {
        Some(PgHistory::named(pool()?, &unique_name("h\"x"), options).await.unwrap())
    }

    katena_testkit::chat_history_contract!(real_postgres, fresh(HistoryOptions::new()));
    katena_testkit::chat_history_contract!(real_postgres_ttl, fresh(HistoryOptions::new().with_ttl(HOUR)));

    #[tokio::test(flavor = "multi_thread")]
    async fn two_processes_on_postgres() {
        let Some(_) = pool() else { return };
        common::two_processes_keep_order(
            "postgres::two_processes_on_postgres",
            &unique_name("two"),
            |name| async move { PgHistory::named(pool().unwrap(), &name, HistoryOptions::new()).await.unwrap() },
        )
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn histories_that_start_at_once_share_their_tables() {
        let Some(pool) = pool() else { return };
        let name = unique_name("start");
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let (pool, name) = (pool.clone(), name.clone());
                tokio::spawn(async move { PgHistory::named(pool, &name, HistoryOptions::new()).await })
            })
            .collect();
        for start in starts {
            start.await.unwrap().unwrap();
        }
        let sql = "UPDATE katena_histories SET version = 99 WHERE name = $1";
        pool.get().await.unwrap().execute(sql, &[&name]).await.unwrap();
        let newer = PgHistory::named(pool, &name, HistoryOptions::new()).await.unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::Unsupported);
    }

    #[tokio::test]
    async fn idle_sessions_in_postgres_expire() {
        let Some(pool) = pool() else { return };
        let name = unique_name("ttl");
        let history =
            PgHistory::named(pool.clone(), &name, HistoryOptions::new().with_ttl(HOUR)).await.unwrap();
        for session in ["old", "older", "new"] {
            history.append(session, turn(1)).await.unwrap();
        }
        let client = pool.get().await.unwrap();
        let sql =
            format!("UPDATE {name}_sessions SET written = written - interval '1 hour' WHERE name <> 'new'");
        client.batch_execute(&sql).await.map_err(|e| error(&e)).unwrap();
        assert_eq!(history.count("old").await.unwrap(), 0);
        assert_eq!(history.messages("old").await.unwrap(), []);
        assert_eq!(history.sessions(None, 9).await.unwrap(), ["new"]);
        history.append("old", turn(2)).await.unwrap();
        assert_eq!(history.messages("old").await.unwrap(), turn(2));
        assert_eq!(history.remove_expired().await.unwrap(), 1);
        let rows = client.query(&format!("SELECT 1 FROM {name}_messages"), &[]).await.unwrap();
        assert_eq!(rows.len(), 4, "messages go with their session");
    }
}

#[cfg(feature = "redis")]
mod redis {
    use katena_memory::RedisHistory;
    use katena_testkit::fixtures::unique_name;

    use super::*;

    async fn named(prefix: &str, options: HistoryOptions) -> Option<RedisHistory> {
        let url = common::url("KATENA_TEST_REDIS_URL")?;
        Some(RedisHistory::named(&url, prefix, options).await.unwrap())
    }

    katena_testkit::chat_history_contract!(real_redis, async {
        named(&unique_name("h"), HistoryOptions::new()).await
    });
    katena_testkit::chat_history_contract!(real_redis_ttl, async {
        named(&unique_name("h"), HistoryOptions::new().with_ttl(HOUR)).await
    });

    #[tokio::test(flavor = "multi_thread")]
    async fn two_processes_on_redis() {
        if common::url("KATENA_TEST_REDIS_URL").is_none() {
            return;
        }
        common::two_processes_keep_order(
            "redis::two_processes_on_redis",
            &unique_name("two"),
            |prefix| async move { named(&prefix, HistoryOptions::new()).await.unwrap() },
        )
        .await;
    }

    async fn raw() -> ::redis::aio::MultiplexedConnection {
        let client = ::redis::Client::open(common::url("KATENA_TEST_REDIS_URL").unwrap()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    #[tokio::test]
    async fn the_server_forgets_idle_sessions() {
        let prefix = unique_name("ttl");
        let Some(history) = named(&prefix, HistoryOptions::new().with_ttl(HOUR)).await else { return };
        let mut server = raw().await;
        for session in ["old", "new"] {
            history.append(session, turn(1)).await.unwrap();
        }
        let key = format!("{{{prefix}}}:session:old");
        let asking = server.clone();
        let left = |key: String| {
            let mut server = asking.clone();
            async move { ::redis::cmd("PTTL").arg(key).query_async::<i64>(&mut server).await.unwrap() }
        };
        let hour = HOUR.as_millis() as i64;
        assert!((hour - 60_000..=hour).contains(&left(key.clone()).await));
        let () = ::redis::cmd("PEXPIRE").arg(&key).arg(1_000).query_async(&mut server).await.unwrap();
        history.append("old", turn(2)).await.unwrap();
        assert!(left(key.clone()).await > hour - 60_000, "each write begins the time anew");
        // A moment that has passed: the server deletes the list as it does when the time is over.
        let () = ::redis::cmd("EXPIREAT").arg(&key).arg(1).query_async(&mut server).await.unwrap();
        assert_eq!(history.messages("old").await.unwrap(), []);
        assert_eq!(history.sessions(None, 9).await.unwrap(), ["new"]);
        assert_eq!(history.session_count().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn newer_data_is_refused_and_debug_shows_no_password() {
        let prefix = unique_name("version");
        let Some(history) = named(&prefix, HistoryOptions::new()).await else { return };
        assert!(!format!("{history:?}").contains("connection"), "{history:?}");
        let key = format!("{{{prefix}}}:version");
        let () = ::redis::cmd("SET").arg(key).arg(99).query_async(&mut raw().await).await.unwrap();
        let url = common::url("KATENA_TEST_REDIS_URL").unwrap();
        let error = RedisHistory::named(&url, &prefix, HistoryOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

/// No registry has a MongoDB server, so these run only where `KATENA_TEST_MONGODB_URL` names one, required or not.
#[cfg(feature = "mongodb")]
#[expect(clippy::print_stderr, reason = "says why tests are skipped")]
mod mongo {
    use katena_memory::MongoHistory;
    use katena_testkit::fixtures::unique_name;

    use super::*;

    fn url() -> Option<String> {
        let url = std::env::var("KATENA_TEST_MONGODB_URL").ok();
        if url.is_none() {
            eprintln!("skipped: KATENA_TEST_MONGODB_URL is not set (no MongoDB server can be fetched)");
        }
        url
    }

    async fn fresh() -> Option<MongoHistory> {
        Some(MongoHistory::named(&url()?, &unique_name("h"), HistoryOptions::new()).await.unwrap())
    }

    katena_testkit::chat_history_contract!(real_mongodb, fresh());

    #[tokio::test(flavor = "multi_thread")]
    async fn two_processes_on_mongodb() {
        let Some(url) = url() else { return };
        let open = |name: String| {
            let url = url.clone();
            async move { MongoHistory::named(&url, &name, HistoryOptions::new()).await.unwrap() }
        };
        common::two_processes_keep_order("mongo::two_processes_on_mongodb", &unique_name("two"), open).await;
    }
}
