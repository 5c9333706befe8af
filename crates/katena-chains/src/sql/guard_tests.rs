use super::*;

fn guard(dialect: SqlDialect) -> SqlGuard {
    SqlGuard::new(dialect, ["orders", "customers"]).with_max_rows(10)
}

/// Statements that neither dialect may let through.
const HOSTILE: &[&str] = &[
    // Not a SELECT.
    "DROP TABLE orders",
    "DELETE FROM orders",
    "UPDATE orders SET total = 0",
    "INSERT INTO orders VALUES (1)",
    "TRUNCATE orders",
    "ALTER TABLE orders ADD x int",
    "CREATE TABLE x AS SELECT * FROM orders",
    "CREATE VIEW x AS SELECT * FROM orders",
    "GRANT ALL ON orders TO public",
    "ATTACH DATABASE '/tmp/x' AS x",
    "PRAGMA query_only = 0",
    "PRAGMA table_info(orders)",
    "VACUUM INTO '/tmp/x'",
    "COPY orders TO '/tmp/x'",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "SET ROLE postgres",
    "SET statement_timeout = 0",
    "RESET ALL",
    "SHOW ALL",
    "EXPLAIN ANALYZE SELECT * FROM orders",
    "EXPLAIN SELECT 1",
    "CALL p()",
    "DO $$ BEGIN DELETE FROM orders; END $$",
    "BEGIN",
    "COMMIT",
    "LISTEN x",
    "NOTIFY x",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "VALUES (1)",
    "TABLE orders",
    "REINDEX",
    "LOAD 'x'",
    "MERGE INTO orders USING customers ON true WHEN MATCHED THEN DELETE",
    // Stacked and hidden.
    "SELECT 1; DROP TABLE orders",
    "SELECT 1; SELECT 2",
    "SELECT 1;;DELETE FROM orders",
    "SELECT 1 /* x */; /* y */ DELETE FROM orders --",
    "/* SELECT */ DELETE FROM orders",
    "SELECT 1 -- \n; DROP TABLE orders",
    "sElEcT 1;dRoP tAbLe orders",
    "ＳＥＬＥＣＴ 1",
    "DELETE\u{a0}FROM orders",
    "SELECT 1 FROM orders\u{0}; DROP TABLE orders",
    "",
    " -- nothing",
    "SELECT",
    // Writes within.
    "WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x",
    "WITH x AS (UPDATE orders SET total = 0 RETURNING *) SELECT * FROM x",
    "WITH x AS (INSERT INTO orders VALUES (1) RETURNING *) SELECT * FROM x",
    "WITH a AS (WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x) SELECT * FROM a",
    "SELECT * FROM (DELETE FROM orders RETURNING *) x",
    "WITH x AS (SELECT 1) DELETE FROM orders",
    "WITH x AS (SELECT 1) INSERT INTO orders SELECT * FROM x",
    "SELECT * INTO stolen FROM orders",
    "SELECT * FROM orders FOR UPDATE",
    "SELECT * FROM orders FOR SHARE",
    "SELECT (SELECT id FROM orders FOR UPDATE)",
    // Tables that are not listed.
    "SELECT * FROM secrets",
    "SELECT * FROM orders, secrets",
    "SELECT * FROM orders JOIN secrets ON true",
    "SELECT * FROM (SELECT * FROM secrets) x",
    "SELECT * FROM orders WHERE id IN (SELECT id FROM secrets)",
    "SELECT * FROM orders WHERE EXISTS (SELECT 1 FROM secrets)",
    "SELECT (SELECT max(id) FROM secrets)",
    "SELECT * FROM orders UNION SELECT * FROM secrets",
    "SELECT * FROM orders UNION TABLE secrets",
    "SELECT * FROM orders ORDER BY (SELECT id FROM secrets)",
    "SELECT id FROM orders GROUP BY id HAVING id > (SELECT max(id) FROM secrets)",
    "SELECT * FROM orders LIMIT (SELECT count(*) FROM secrets)",
    "SELECT CASE WHEN (SELECT 1 FROM secrets) = 1 THEN 1 END",
    "SELECT sum(total) OVER (ORDER BY (SELECT 1 FROM secrets)) FROM orders",
    "SELECT sum(total) FILTER (WHERE EXISTS (SELECT 1 FROM secrets)) FROM orders",
    "SELECT * FROM \"secrets\"",
    "SELECT * FROM other.orders",
    "SELECT * FROM \"other\".\"orders\"",
    "SELECT * FROM db.public.orders",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_shadow",
    "SELECT * FROM pg_authid",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM main.sqlite_schema",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_table_info('orders')",
    "SELECT * FROM (VALUES (1), ((SELECT 1 FROM secrets))) v",
    // CTE names that stand for something else at another place.
    "SELECT * FROM secrets, (WITH secrets AS (SELECT 1) SELECT * FROM secrets) t",
    "WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets",
    "WITH a AS (SELECT * FROM secrets), secrets AS (SELECT 1) SELECT * FROM a",
    "SELECT * FROM (WITH secrets AS (SELECT 1) SELECT 1) t, secrets",
    "SELECT (WITH secrets AS (SELECT 1) SELECT 1) FROM secrets",
    "WITH secrets AS (SELECT 1) SELECT * FROM other.secrets",
    // Functions.
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT pg_sleep(100)",
    "SELECT PG_SLEEP(100)",
    "SELECT \"pg_sleep\"(100)",
    "SELECT pg_catalog.pg_sleep(100)",
    "SELECT * FROM pg_sleep(100)",
    "SELECT * FROM pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/x')",
    "SELECT * FROM dblink('host=x', 'SELECT 1') AS t(a int)",
    "SELECT set_config('x', 'y', false)",
    "SELECT current_setting('x')",
    "SELECT query_to_xml('SELECT * FROM secrets', true, true, '')",
    "SELECT nextval('s')",
    "SELECT pg_terminate_backend(1)",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'y')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('x')",
    "SELECT zeroblob(1000000000)",
    "SELECT randomblob(1000000000)",
    "SELECT count(pg_sleep(1)) FROM orders",
    "SELECT max(id) FILTER (WHERE pg_sleep(1) IS NULL) FROM orders",
    "SELECT id FROM orders ORDER BY pg_sleep(1)",
    "SELECT sum(id) OVER (PARTITION BY pg_sleep(1)) FROM orders",
    "SELECT xmlparse(document 'x')",
    "SELECT {fn pg_sleep(1)}",
    // Other ways.
    "SELECT $1",
    "SELECT ?",
    "SELECT :name",
    "SELECT @@version",
    "SELECT id FROM orders LIMIT 1 + 1",
    "SELECT id FROM orders LIMIT -1",
    "SELECT id FROM orders TABLESAMPLE SYSTEM (1)",
    "SELECT TOP 5 * FROM orders",
    "SELECT * FROM orders LATERAL VIEW explode(x) t AS y",
    "FROM orders",
    "SELECT id FROM orders QUALIFY id > 1",
];

#[test]
fn hostile_statements_are_refused_by_both_dialects() {
    assert!(HOSTILE.len() >= 120, "{}", HOSTILE.len());
    for dialect in [SqlDialect::Sqlite, SqlDialect::Postgres] {
        for sql in HOSTILE {
            let result = guard(dialect).check(sql);
            assert!(result.is_err(), "{dialect:?} let through: {sql}\n as {}", result.unwrap());
        }
        // The same with all tables of the schema allowed, unless only the table was the fault.
        const NAMES: [&str; 3] = ["FROM pg_authid", "FROM sqlite_master", "FROM pragma_database_list"];
        // Names that are a system's in one dialect only.
        let own = |s: &&&str| !s.contains("secrets") && NAMES.iter().all(|n| !s.ends_with(n));
        for sql in HOSTILE.iter().filter(own) {
            let result = SqlGuard::all_tables(dialect).check(sql);
            assert!(result.is_err(), "{dialect:?} let through: {sql}\n as {}", result.unwrap());
        }
    }
}

#[test]
fn hostile_statements_of_one_dialect_are_refused() {
    use SqlDialect::{Postgres, Sqlite};
    for (dialect, sql) in [
        (Postgres, "SELECT 'orders'::regclass"),
        (Postgres, "SELECT 'pg_sleep'::regproc"),
        (Postgres, "SELECT '<x/>'::xml"),
        (Postgres, "SELECT 1 OPERATOR(pg_catalog.+) 1"),
        (Postgres, "SELECT * FROM ONLY secrets"),
        (Postgres, "SELECT U&\"d\\0061ta\" FROM secrets"),
        // Names differ by case where they are quoted.
        (Postgres, "WITH \"Secrets\" AS (SELECT 1) SELECT * FROM secrets"),
        (Postgres, "WITH \"SECRETS\" AS (SELECT 1) SELECT * FROM SECRETS"),
        (Postgres, "SELECT * FROM \"Orders\""),
        (Postgres, "SELECT \"LOWER\"('x')"),
        // `alias.f` calls the function f of the value.
        (Postgres, "SELECT f.pg_read_file FROM unnest(ARRAY['/etc/passwd']) AS f"),
        (Postgres, "SELECT g.pg_sleep FROM generate_series(5, 5) AS g"),
        (Postgres, "SELECT g.pg_sleep FROM generate_series(5, 5) AS g(x)"),
        (Postgres, "SELECT 1 AS pg_sleep, g.pg_sleep FROM generate_series(5, 5) AS g"),
        (Postgres, "SELECT (g).pg_sleep FROM generate_series(5, 5) AS g"),
        (Postgres, "SELECT * FROM ROWS FROM (pg_sleep(1)) AS t"),
        (Postgres, "SELECT * FROM XMLTABLE('/x' PASSING '<x/>' COLUMNS a int PATH 'b')"),
        (Postgres, "SELECT id FROM orders FETCH FIRST 1 ROWS WITH TIES"),
        (Postgres, "SELECT id FROM orders ORDER BY id USING <"),
        // Texts that the printer would write as something else.
        (Postgres, "SELECT '\\'' , ' UNION SELECT name FROM secrets --'"),
        (Postgres, "SELECT E'\\\\''' || 'x'"),
        (Postgres, "SELECT ''''''"),
        (Postgres, "SELECT E'\\000'"),
        (Sqlite, "SELECT '\\'' , ' UNION SELECT name FROM secrets --'"),
        (Sqlite, "SELECT * FROM [secrets]"),
        (Sqlite, "SELECT * FROM `secrets`"),
        (Sqlite, "SELECT * FROM temp.orders"),
        (Sqlite, "SELECT * FROM aux.orders"),
        (Sqlite, "SELECT * FROM SQLITE_MASTER"),
        (Sqlite, "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a"),
        (Sqlite, "SELECT * FROM generate_series(1, 1000000000)"),
        (Sqlite, "SELECT * FROM orders WHERE id MATCH load_extension('x')"),
        (Sqlite, "REPLACE INTO orders VALUES (1)"),
        (Sqlite, "DETACH DATABASE main"),
    ] {
        let result = guard(dialect).check(sql);
        assert!(result.is_err(), "{dialect:?} let through: {sql}\n as {}", result.unwrap());
    }
}

#[test]
fn good_statements_pass_and_say_the_same() {
    use SqlDialect::{Postgres, Sqlite};
    let both = [
        ("select id from orders;", "SELECT id FROM {s}.orders LIMIT 11"),
        ("SELECT * FROM Orders AS o", "SELECT * FROM {s}.Orders AS o LIMIT 11"),
        ("SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer", ""),
        ("SELECT count(*), sum(total) FROM orders WHERE total > 10 AND note LIKE '%x%'", ""),
        ("SELECT id FROM orders LIMIT 3", "SELECT id FROM {s}.orders LIMIT 3"),
        ("SELECT id FROM orders LIMIT 30 OFFSET 5", "SELECT id FROM {s}.orders LIMIT 11 OFFSET 5"),
        ("SELECT 'it''s' AS t", "SELECT 'it''s' AS t LIMIT 11"),
        ("SELECT 'a -- b; DROP TABLE x' AS t", "SELECT 'a -- b; DROP TABLE x' AS t LIMIT 11"),
        ("WITH t AS (SELECT id FROM orders) SELECT count(*) FROM t", ""),
        ("WITH t AS (SELECT 1 AS a), u AS (SELECT a FROM t) SELECT * FROM u, t", ""),
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT n FROM t",
            "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT n FROM t LIMIT 11",
        ),
        ("SELECT id FROM orders UNION ALL SELECT id FROM customers ORDER BY 1 DESC", ""),
        ("SELECT CASE WHEN total > 5 THEN 'big' ELSE 'small' END AS size FROM orders GROUP BY 1", ""),
        ("SELECT id, row_number() OVER (PARTITION BY customer ORDER BY total DESC) AS n FROM orders", ""),
        ("SELECT * FROM (SELECT id FROM orders) AS x WHERE id IN (SELECT id FROM customers)", ""),
        ("SELECT CAST(total AS INTEGER), coalesce(note, '-') FROM orders", ""),
        ("SELECT c.name FROM customers c LEFT JOIN orders o ON o.customer = c.id WHERE o.id IS NULL", ""),
        ("SELECT DISTINCT customer FROM orders WHERE total BETWEEN 1 AND 2", ""),
        ("SELECT (SELECT max(total) FROM orders) - (SELECT min(total) FROM orders)", ""),
    ];
    let own = [
        (Postgres, "SELECT id FROM sales.customers", "SELECT id FROM sales.customers LIMIT 11"),
        (Postgres, "SELECT date_trunc('month', placed) AS m FROM orders", ""),
        (Postgres, "SELECT total::numeric(10, 2), placed::date FROM orders", ""),
        (Postgres, "SELECT extract(year FROM placed), now() - interval '1 day' FROM orders", ""),
        (Postgres, "SELECT note ILIKE '%a%', note ~ 'x', tags[1], doc->>'k' FROM orders", ""),
        (Postgres, "SELECT DISTINCT ON (customer) customer, total FROM orders ORDER BY customer, total", ""),
        (Postgres, "SELECT count(*) FILTER (WHERE total > 1) FROM orders", ""),
        (Postgres, "SELECT d FROM generate_series(1, 3) AS d", ""),
        (Postgres, "SELECT t.x FROM unnest(ARRAY[1, 2]) AS t(x)", ""),
        (Postgres, "SELECT $$it's$$ AS t", "SELECT 'it''s' AS t LIMIT 11"),
        (Postgres, "SELECT E'it\\'s\\n' AS t", "SELECT 'it''s\n' AS t LIMIT 11"),
        (Postgres, "SELECT id FROM orders FETCH FIRST 2 ROWS ONLY", "SELECT id FROM public.orders LIMIT 2"),
        (Postgres, "(SELECT id FROM orders) UNION (SELECT id FROM customers)", ""),
        (Postgres, "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM orders", ""),
        (
            Postgres,
            "SELECT x.total FROM customers c, LATERAL (SELECT total FROM orders o WHERE o.customer = c.id) x",
            "",
        ),
        (Sqlite, "SELECT strftime('%Y', placed), date('now', '-1 day') FROM orders", ""),
        (Sqlite, "SELECT id FROM orders LIMIT 5, 3", "SELECT id FROM main.orders LIMIT 3 OFFSET 5"),
        (Sqlite, "SELECT note GLOB 'a*', ifnull(note, ''), total || '' FROM [orders]", ""),
        (Sqlite, "SELECT group_concat(name, ', ') FROM customers", ""),
        (Sqlite, "SELECT e.value FROM orders, json_each(doc) AS e", ""),
    ];
    let all = [Sqlite, Postgres].into_iter().flat_map(|d| both.map(|(sql, want)| (d, sql, want)));
    for (dialect, sql, want) in all.chain(own) {
        let guard = SqlGuard::new(dialect, ["orders", "customers", "sales.customers"]).with_max_rows(10);
        let out = guard.check(sql).unwrap_or_else(|e| panic!("{dialect:?} refused: {sql}\n {e}"));
        if !want.is_empty() {
            assert_eq!(out.as_str(), want.replace("{s}", dialect.schema()));
        }
        assert!(out.as_str().contains("LIMIT "), "{out}");
        // What went through goes through again, unchanged.
        assert_eq!(guard.check(out.as_str()).unwrap().as_str(), out.as_str());
    }
}

#[test]
fn hidden_columns_have_no_way_out() {
    for dialect in [SqlDialect::Sqlite, SqlDialect::Postgres] {
        for known in [false, true] {
            let mut guard = SqlGuard::new(dialect, ["users", "orders"]).with_hidden_column("Password");
            if known {
                guard = guard.with_columns(["id", "name", "note"]);
            }
            for sql in [
                "SELECT password FROM users",
                "SELECT PASSWORD FROM users",
                "SELECT \"password\" FROM users",
                "SELECT u.password FROM users u",
                "SELECT main.users.password FROM users",
                "SELECT id FROM users WHERE password LIKE 'a%'",
                "SELECT id FROM users ORDER BY password",
                "SELECT count(password) FROM users",
                "SELECT * FROM users",
                "SELECT u.* FROM users u",
                "SELECT count(u.*) FROM users u",
                "SELECT * FROM (SELECT * FROM users) x",
                "SELECT b FROM users AS u(a, b)",
                "SELECT b FROM (SELECT * FROM users) AS u(a, b)",
                "WITH u(a, b) AS (SELECT * FROM users) SELECT b FROM u",
                "SELECT u FROM users u",
                "SELECT users FROM users",
                "SELECT max(u) FROM users u",
                "SELECT id FROM users NATURAL JOIN orders",
                "SELECT users.id FROM users JOIN orders USING (password)",
                "SELECT sum(1) OVER (ORDER BY password) FROM users",
                "SELECT password AS id FROM users",
            ] {
                let result = guard.check(sql);
                assert!(result.is_err(), "{dialect:?} let through: {sql}\n as {}", result.unwrap());
            }
            for sql in [
                "SELECT id, name AS n FROM users u WHERE u.note = 'x' ORDER BY n",
                "SELECT count(*) FROM users",
            ] {
                guard.check(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
            }
        }
    }
    let postgres = SqlGuard::new(SqlDialect::Postgres, ["users"]).with_hidden_column("password");
    for sql in [
        "SELECT u.to_jsonb FROM users u",
        "SELECT (u).password FROM users u",
        "SELECT (u).* FROM users u",
        "SELECT row_to_json(u) FROM users u",
        "SELECT u::text FROM users u",
    ] {
        assert!(postgres.check(sql).is_err(), "{sql}");
    }
    let known = postgres.with_columns(["id", "name"]);
    for sql in ["SELECT u.my_function FROM users u", "SELECT 1 AS my_function, u.my_function FROM users u"] {
        assert!(known.check(sql).is_err(), "{sql}");
    }
}

#[test]
fn what_the_application_allows_is_allowed() {
    let guard = SqlGuard::new(SqlDialect::Postgres, ["information_schema.tables"])
        .with_function("my_score")
        .with_type("order_status");
    assert!(guard.check("SELECT table_name FROM information_schema.tables").is_ok());
    assert!(guard.check("SELECT my_score(1), 'open'::order_status").is_ok());
    assert!(guard.check("SELECT evil.my_score(1)").is_err());
    assert_eq!(
        SqlGuard::all_tables(SqlDialect::Sqlite).check("SELECT a FROM t").unwrap().tables().count(),
        1
    );
}

/// Each ends soon, on a small stack.
#[test]
fn huge_and_deep_statements_end_in_an_error_or_pass() {
    let body = || {
        let deep = |open: &str, inner: &str, close: &str, n: usize| {
            format!("SELECT {}{inner}{}", open.repeat(n), close.repeat(n))
        };
        let list = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        for dialect in [SqlDialect::Sqlite, SqlDialect::Postgres] {
            for n in [30, 100, 1000, 10_000] {
                for sql in [
                    deep("(", "1", ")", n),
                    deep("(SELECT ", "1", ")", n),
                    deep("abs(", "1", ")", n),
                    deep("NOT ", "1", "", n),
                    deep("- ", "1", "", n),
                    deep("CASE WHEN 1 = 1 THEN ", "1", " END", n),
                    deep("", "1", " + 1", n),
                    deep("", "1", " AND 1", n),
                    deep("", "1", " UNION SELECT 1", n),
                    deep("", "1", "::int", n),
                    deep("", "1", " IS NULL", n),
                    deep("((((((((((", "1", "", n / 10),
                    format!("{}SELECT 1{}", "SELECT * FROM (".repeat(n), ") t".repeat(n)),
                    format!("SELECT 1 FROM orders{}", " JOIN orders ON 1 = 1".repeat(n)),
                    format!("{}SELECT 1", "WITH t AS (".repeat(n)),
                    format!("SELECT 1 WHERE 1 IN ({})", list(n)),
                ] {
                    let result = guard(dialect).check(&sql);
                    if n >= 10_000 {
                        assert!(result.is_err(), "{}", &sql[..60]);
                    }
                }
            }
            assert!(guard(dialect).check(&format!("SELECT 1 WHERE 1 IN ({})", list(1000))).is_ok());
            assert!(guard(dialect).check(&"x".repeat(1 << 20)).is_err());
            assert!(guard(dialect).check(&format!("SELECT '{}'", "x".repeat(1 << 20))).is_err());
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(body).unwrap().join().unwrap();
}

/// Statements put together at random from pieces of hostile and good ones: no panic, and what passes is one SELECT over
/// listed tables, which passes again unchanged.
#[test]
fn random_statements_never_get_through_as_more_than_a_select() {
    let good =
        ["SELECT id FROM orders o WHERE o.total > 5", "WITH t AS (SELECT 1 AS a) SELECT a FROM t ORDER BY a"];
    let words: Vec<&str> =
        HOSTILE.iter().chain(&good).flat_map(|s| s.split_inclusive([' ', '(', ')', ',', ';'])).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let mut passed = 0;
    for round in 0..6000 {
        let dialect = if round % 2 == 0 { SqlDialect::Sqlite } else { SqlDialect::Postgres };
        let base = if random(2) == 0 { good[random(2)] } else { HOSTILE[random(HOSTILE.len())] };
        let mut pieces: Vec<&str> = base.split_inclusive([' ', '(', ')', ',', ';']).collect();
        for _ in 0..random(4) {
            let at = random(pieces.len() + 1);
            let word = words[random(words.len())];
            match random(3) {
                0 => pieces.insert(at, word),
                1 if at < pieces.len() => pieces[at] = word,
                _ if at < pieces.len() => drop(pieces.remove(at)),
                _ => {}
            }
        }
        if let Ok(out) = guard(dialect).check(&pieces.concat()) {
            passed += 1;
            let statements = Parser::parse_sql(dialect.parser(), out.as_str()).unwrap();
            assert!(matches!(&statements[..], [Statement::Query(_)]), "{out}");
            assert!(out.tables().all(|t| ["orders", "customers"].contains(&t.name.as_str())), "{out}");
            assert_eq!(guard(dialect).check(out.as_str()).unwrap(), out);
        }
    }
    assert!(passed > 100, "{passed}");
}
