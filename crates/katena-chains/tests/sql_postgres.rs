//! Questions to a real PostgreSQL: `KATENA_TEST_POSTGRES_URL`.
#![cfg(feature = "postgres")]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use katena_chains::sql::{PgDatabase, Rows, SqlDatabase, SqlDialect, SqlGuard, SqlLimits, SqlQuestion};
use katena_core::fake::ScriptedChat;
use katena_core::{ChainExt, ErrorKind, Message, Run};
use katena_postgres::Pool;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

struct Shop {
    pool: Pool,
    database: PgDatabase,
    orders: String,
    secrets: String,
}

async fn shop() -> Option<Shop> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Ok(url) = std::env::var("KATENA_TEST_POSTGRES_URL") else {
        let required = std::env::var("KATENA_REQUIRE_SERVERS").is_ok_and(|v| v == "1");
        assert!(!required, "KATENA_TEST_POSTGRES_URL is not set, and KATENA_REQUIRE_SERVERS=1");
        eprintln!("skipped: KATENA_TEST_POSTGRES_URL is not set");
        return None;
    };
    let pool = Pool::new(&url).unwrap();
    let id = format!("{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let (orders, secrets) = (format!("orders_{id}"), format!("secrets_{id}"));
    let sql = format!(
        "CREATE TABLE {secrets} (word text PRIMARY KEY);
         INSERT INTO {secrets} VALUES ('xyzzy');
         CREATE TABLE {orders} (id int PRIMARY KEY, total numeric(30, 10), placed date, password text, tags text[],
                                doc jsonb, ok boolean, ratio float8, word text REFERENCES {secrets}(word));
         COMMENT ON COLUMN {orders}.total IS 'in euros';
         INSERT INTO {orders} VALUES
           (1, 9.5, '2024-02-29', 'hunter2', ARRAY['a', 'b'], '{{\"k\": [1]}}', true, 0.5, 'xyzzy'),
           (2, 12345678901234567890.123456789, '2024-03-01', 'letmein', NULL, NULL, false, 'NaN', NULL),
           (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
    );
    pool.get().await.unwrap().batch_execute(&sql).await.unwrap();
    Some(Shop { database: PgDatabase::new(pool.clone()), pool, orders, secrets })
}

impl Shop {
    fn guard(&self) -> SqlGuard {
        SqlGuard::new(SqlDialect::Postgres, [&self.orders]).with_max_rows(2)
    }

    async fn query(&self, guard: &SqlGuard, sql: &str) -> katena_core::Result<Rows> {
        let sql = guard.check(&sql.replace("{o}", &self.orders).replace("{s}", &self.secrets))?;
        self.database.query(&sql, &SqlLimits::new(), &Run::new()).await
    }

    async fn end(self) {
        let sql = format!("DROP TABLE {}; DROP TABLE {}", self.orders, self.secrets);
        self.pool.get().await.unwrap().batch_execute(&sql).await.unwrap();
    }
}

#[tokio::test]
async fn values_of_all_kinds_come_back() {
    let Some(shop) = shop().await else { return };
    let guard = shop.guard();
    let sql = "SELECT id, total, placed, tags, doc, ok, ratio, '\\x00ff'::bytea AS b, id AS id FROM {o} ORDER BY id DESC OFFSET 1";
    let rows = shop.query(&guard, sql).await.unwrap();
    assert_eq!(rows.columns, ["id", "total", "placed", "tags", "doc", "ok", "ratio", "b", "id"]);
    let null = Value::Null;
    assert_eq!(
        rows.rows,
        [
            vec![
                json!(2),
                json!("12345678901234567890.1234567890"),
                json!("2024-03-01"),
                null.clone(),
                null,
                json!(false),
                json!("NaN"),
                json!("\\x00ff"),
                json!(2)
            ],
            vec![
                json!(1),
                json!("9.5000000000"),
                json!("2024-02-29"),
                json!("{a,b}"),
                json!("{\"k\": [1]}"),
                json!(true),
                json!(0.5),
                json!("\\x00ff"),
                json!(1)
            ],
        ]
    );
    assert!(!rows.truncated);
    let rows = shop.query(&guard, "SELECT id FROM {o} ORDER BY id").await.unwrap();
    assert_eq!((rows.rows.len(), rows.truncated), (2, true));
    let limits = SqlLimits::new().with_max_cell(3);
    let long = guard.check("SELECT 'abcdef' AS t, 'é'::text AS u").unwrap();
    let rows = shop.database.query(&long, &limits, &Run::new()).await.unwrap();
    assert_eq!((rows.rows[0][0].clone(), rows.truncated), (json!("abc…"), true));
    assert_eq!(
        shop.query(&guard, "SELECT E'it\\'s; DROP TABLE {o}' AS t").await.unwrap().rows[0][0],
        json!(format!("it's; DROP TABLE {}", shop.orders))
    );
    shop.end().await;
}

#[tokio::test]
async fn a_question_goes_through_to_the_server() {
    let Some(shop) = shop().await else { return };
    let sql = |text: &str| {
        json!({"sql": text.replace("{o}", &shop.orders).replace("{s}", &shop.secrets)}).to_string()
    };
    let model = ScriptedChat::texts([
        sql("SELECT word FROM {s}"),
        sql("SELECT date_trunc('month', placed) / 2 FROM {o}"),
        sql("SELECT count(*) AS n FROM {o} WHERE ok"),
        "One order is fine.".to_owned(),
    ]);
    let guard = shop.guard().with_hidden_column("password");
    let report = SqlQuestion::new(model.clone(), shop.database.clone(), guard)
        .reported()
        .run("How many are fine?")
        .await
        .unwrap();
    assert_eq!((report.output.repairs, report.output.rows.rows.clone()), (2, vec![vec![json!(1)]]));
    let asked = model.requests();
    let prompt: String = asked[0].messages.iter().map(Message::text).collect();
    assert!(
        prompt.contains("id integer PRIMARY KEY") && prompt.contains("total numeric(30,10) -- in euros"),
        "{prompt}"
    );
    assert!(prompt.contains(&format!("word text REFERENCES {}(word)", shop.secrets)), "{prompt}");
    assert!(!prompt.contains("password") && !prompt.contains("hunter2"));
    assert!(
        asked[2].messages[5].text().contains("operator does not exist"),
        "{}",
        asked[2].messages[5].text()
    );
    shop.end().await;
}

#[tokio::test]
async fn a_slow_statement_ends() {
    let Some(shop) = shop().await else { return };
    let guard = shop.guard();
    let limits = SqlLimits::new().with_timeout(Duration::from_millis(100));
    for bomb in [
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
        "SELECT count(*) FROM generate_series(1, 1000000000) AS a, generate_series(1, 1000000000) AS b",
    ] {
        let sql = guard.check(bomb).unwrap();
        let error = shop.database.query(&sql, &limits, &Run::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    drop_in_its_midst(&shop, &shop.database, "123457").await;
    for _ in 0..3 {
        let client = shop.pool.get().await.unwrap();
        client.batch_execute("CREATE TEMP TABLE IF NOT EXISTS writable (a int)").await.unwrap();
    }
    shop.end().await;
}

/// A statement of hours, known by `mark`, is dropped once the server is at it. Returns when the server has stopped.
async fn drop_in_its_midst(shop: &Shop, database: &PgDatabase, mark: &str) {
    // Rows that are counted as they are made: nothing goes to the server's disk.
    let hours = format!(
        "SELECT count(*) FROM generate_series(1, 9999) AS a, generate_series(1, 9999) AS b,
         generate_series(1, 9999) AS c, generate_series(1, 9999) AS d WHERE a <> {mark}"
    );
    let slow = shop.guard().check(&hours).unwrap();
    let client = shop.pool.get().await.unwrap();
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%{mark}%' AND pid <> pg_backend_pid()"
    );
    let running = async || client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) > 0;
    let limits = SqlLimits::new().with_timeout(Duration::from_secs(600));
    let run = Run::new();
    tokio::select! {
        _ = database.query(&slow, &limits, &run) => unreachable!("it takes hours"),
        () = async { while !running().await {} } => {}
    }
    let started = Instant::now();
    while running().await {
        assert!(started.elapsed() < Duration::from_secs(300), "the server goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A server that is between two messages forgets what it was told: it must be told again.
#[tokio::test]
async fn a_cancel_that_gets_lost_is_sent_again() {
    const LOST: usize = 2;
    let Some(shop) = shop().await else { return };
    let url = std::env::var("KATENA_TEST_POSTGRES_URL").unwrap();
    let server = url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = url.replace(&server, &listener.local_addr().unwrap().to_string());
    let cancels = Arc::new(AtomicUsize::new(0));
    let seen = cancels.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            // Length and code: 80877102 asks for a cancel (PostgreSQL, "Message Formats", CancelRequest).
            let mut head = [0_u8; 8];
            near.read_exact(&mut head).await.unwrap();
            if head[4..] == 80_877_102_u32.to_be_bytes() && seen.fetch_add(1, Ordering::SeqCst) < LOST {
                continue;
            }
            let mut far = TcpStream::connect(&server).await.unwrap();
            far.write_all(&head).await.unwrap();
            tokio::spawn(async move { drop(copy_bidirectional(&mut near, &mut far).await) });
        }
    });
    let database = PgDatabase::new(Pool::new(&through).unwrap());
    // A statement that was dropped while it was still prepared has ended after the first cancel.
    while cancels.swap(0, Ordering::SeqCst) <= LOST {
        drop_in_its_midst(&shop, &database, "123458").await;
    }
    shop.end().await;
}

/// What the guard lets through is still no more than a reader.
#[tokio::test]
async fn the_transaction_is_a_second_lock() {
    let Some(shop) = shop().await else { return };
    // Functions that a careless application allowed.
    let open = shop
        .guard()
        .with_function("nextval")
        .with_function("set_config")
        .with_function("lo_create")
        .with_function("query_to_xml");
    let client = shop.pool.get().await.unwrap();
    client.batch_execute(&format!("CREATE SEQUENCE seq_{}", shop.orders)).await.unwrap();
    let error = shop.query(&open, &format!("SELECT nextval('seq_{}')", shop.orders)).await.unwrap_err();
    assert!(error.message().contains("read-only"), "{error}");
    assert!(shop.query(&open, "SELECT lo_create(0)").await.unwrap_err().message().contains("read-only"));
    // A setting ends with its transaction.
    shop.query(&open, "SELECT set_config('statement_timeout', '0', true)").await.unwrap();
    client.batch_execute(&format!("DROP SEQUENCE seq_{}", shop.orders)).await.unwrap();
    drop(client);
    // The way by `alias.function`, which the guard must stop, is a way: the server itself would go it.
    let client = shop.pool.get().await.unwrap();
    let row = client.query_one("SELECT g.abs FROM generate_series(-5, -5) AS g", &[]).await;
    assert!(row.is_ok(), "PostgreSQL has given up functions written as columns; the guard's rule may go");
    drop(client);
    let sqlite = SqlGuard::new(SqlDialect::Sqlite, ["a"]).check("SELECT 1").unwrap();
    let error = shop.database.query(&sqlite, &SqlLimits::new(), &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    shop.end().await;
}
