//! A question to a database, with a model that answers from a script:
//! `cargo run -p katena-examples --example sql_question`.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use katena::chains::sql::{SqlDialect, SqlGuard, SqlQuestion, SqliteDatabase};
use katena::fake::ScriptedChat;
use katena::prelude::*;

const SHOP: &str = "
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, password TEXT);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers(id), total REAL, placed TEXT);
    CREATE TABLE payroll (name TEXT, salary REAL);
    INSERT INTO customers VALUES (1, 'Ada', 'London', 'x'), (2, 'Ben', 'Delft', 'y'), (3, 'Cleo', 'Delft', 'z');
    INSERT INTO orders VALUES (1, 1, 19.50, '2024-05-01'), (2, 2, 80.00, '2024-05-03'), (3, 3, 42.25, '2024-05-09');";

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::unexpected(e.to_string()))?;
    let path = folder.path().join("shop.db");
    let made = rusqlite::Connection::open(&path).and_then(|c| c.execute_batch(SHOP));
    made.map_err(|e| Error::unexpected(e.to_string()))?;

    // `OpenAiChat` or `LlamaChat` take its place in one line. Its first statement has a mistake, on purpose.
    let model = ScriptedChat::texts([
        r#"{"sql": "SELECT town, sum(total) FROM customers JOIN orders ON customer = customers.id GROUP BY town"}"#,
        r#"{"sql": "SELECT c.city, sum(o.total) AS total FROM customers c JOIN orders o ON o.customer = c.id GROUP BY c.city ORDER BY total DESC"}"#,
        "Delft buys most: 122.25, against 19.50 in London.",
    ]);
    // Two tables and no passwords: the model does not even learn of the rest.
    let guard = SqlGuard::new(SqlDialect::Sqlite, ["customers", "orders"]).with_hidden_column("password");
    let chain = SqlQuestion::new(model, SqliteDatabase::open(&path)?, guard.clone());

    let question = "Which city buys most?";
    let report = chain.reported().run(question).await?;
    println!("question  {question}");
    for fault in report.notes("sql_error") {
        println!("sent back {fault}");
    }
    println!("statement {}", report.output.sql);
    println!("rows\n{}", report.output.rows.to_text(1000));
    println!("answer    {}\n", report.output);

    println!("What the guard says to other statements:");
    for hostile in [
        "DROP TABLE orders",
        "SELECT salary FROM payroll",
        "SELECT password FROM customers",
        "SELECT * FROM customers",
        "SELECT name FROM customers; DELETE FROM orders",
        "WITH payroll AS (SELECT * FROM payroll) SELECT * FROM payroll",
        "SELECT load_extension('/tmp/evil.so')",
    ] {
        match guard.check(hostile) {
            Ok(_) => return Err(Error::unexpected("a hostile statement got through")),
            Err(error) => println!("  {hostile}\n    -> {}", error.message()),
        }
    }
    Ok(())
}
