//! The servers that the tests talk to: real ones where a registry has them, named substitutes where not.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Background, output, works};
use crate::{Result, Stop, setup, tools, workspace};

/// How long a server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(90);

/// Running servers; dropping it stops them and removes their data.
#[derive(Debug)]
pub(crate) struct Servers {
    running: Vec<Background>,
    folder: PathBuf,
    urls: Vec<(&'static str, String)>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.running.clear();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Fetches what the servers are made of, so that starting them is quick.
pub(crate) fn fetch() -> Result<()> {
    tools::postgres()?;
    tools::redis()?;
    tools::qdrant()?;
    tools::llama_server()?;
    tools::aimock()?;
    Ok(())
}

impl Servers {
    /// Starts all of them. `model` is the chat model's GGUF.
    pub(crate) fn start(model: &Path) -> Result<Self> {
        // Not under the cache: PostgreSQL runs as `nobody` where we are root and must reach its data.
        let folder = std::env::temp_dir().join(format!("katena-servers-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let mut servers = Self { running: Vec::new(), folder, urls: Vec::new() };
        servers.postgres()?;
        servers.redis()?;
        servers.qdrant()?;
        servers.llama(model)?;
        servers.aimock()?;
        Ok(servers)
    }

    /// Name and value of the environment variables that tell the tests where the servers are.
    pub(crate) fn environment(&self) -> &[(&'static str, String)] {
        &self.urls
    }

    fn run(
        &mut self,
        name: &'static str,
        command: &Command,
        signal: &str,
        ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let server = Background::start(name, command, &self.folder, signal)?;
        server.wait_until(PATIENCE, ready)?;
        self.running.push(server);
        Ok(())
    }

    fn postgres(&mut self) -> Result<()> {
        let bin = tools::postgres()?;
        let port = free_port()?.to_string();
        let data = self.folder.join("postgres");
        std::fs::create_dir_all(&data)?;
        let nobody = if setup::user_id()? == 0 { Some(ids_of_nobody()?) } else { None };
        if let Some((uid, gid)) = nobody {
            std::os::unix::fs::chown(&data, Some(uid), Some(gid))?;
        }
        let db = data.join("db");
        let mut init = Command::new(bin.join("initdb"));
        init.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--pgdata",
        ]);
        init.arg(&db).current_dir(&data);
        if let Some((uid, gid)) = nobody {
            init.uid(uid).gid(gid);
        }
        output(&mut init)?;
        let mut server = Command::new(bin.join("postgres"));
        if let Some((uid, gid)) = nobody {
            // The supervising shell stays ours; only the server drops its rights.
            server = Command::new("setpriv");
            server.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
            server.arg(bin.join("postgres"));
        }
        server.arg("-D").arg(&db).args(["-p", &port]).current_dir(&data);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=200",
            // A statement that runs away fails before the disk is full.
            "temp_file_limit=1GB",
        ] {
            server.args(["-c", setting]);
        }
        let psql = bin.join("psql");
        self.run("postgres", &server, "INT", || {
            works(
                Command::new(&psql)
                    .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"])
                    .args(["-c", "CREATE EXTENSION IF NOT EXISTS vector"]),
            )
        })?;
        self.urls
            .push(("KATENA_TEST_POSTGRES_URL", format!("postgres://postgres@127.0.0.1:{port}/postgres")));
        Ok(())
    }

    fn redis(&mut self) -> Result<()> {
        let port = free_port()?;
        let data = self.folder.join("redis");
        std::fs::create_dir_all(&data)?;
        let mut server = Command::new(tools::redis()?);
        server.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        server.arg("--dir").arg(&data).current_dir(&data);
        self.run("redis", &server, "TERM", || redis_answers(port))?;
        self.urls.push(("KATENA_TEST_REDIS_URL", format!("redis://127.0.0.1:{port}")));
        Ok(())
    }

    fn qdrant(&mut self) -> Result<()> {
        let (packages, port) = (tools::qdrant()?, free_port()?);
        let mut server = python(&packages, "qdrant_substitute.py");
        server.args([&format!("127.0.0.1:{port}"), ":memory:"]);
        let check = format!(
            "from qdrant_client import QdrantClient as C; C(host='127.0.0.1', port=1, grpc_port={port}, prefer_grpc=True, check_compatibility=False, timeout=5).get_collections()"
        );
        self.run("qdrant", &server, "TERM", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
                && works(Command::new("python3").env("PYTHONPATH", &packages).args(["-c", &check]))
        })?;
        self.urls.push(("KATENA_TEST_QDRANT_URL", format!("http://127.0.0.1:{port}")));
        Ok(())
    }

    fn llama(&mut self, model: &Path) -> Result<()> {
        let port = free_port()?;
        let mut server = python(&tools::llama_server()?, "llama_server.py");
        server.arg(model).args(["--port", &port.to_string()]).env("OMP_WAIT_POLICY", "PASSIVE");
        self.run("llama", &server, "TERM", || http_status(port, "/health") == Some(200))?;
        self.urls.push(("KATENA_TEST_LLAMA_SERVER_URL", format!("http://127.0.0.1:{port}")));
        Ok(())
    }

    fn aimock(&mut self) -> Result<()> {
        let (node, script) = tools::aimock()?;
        let port = free_port()?;
        let mut server = Command::new(node);
        server.arg(script).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-f"]);
        server.arg(workspace::root().join("tools/servers/aimock"));
        server.args(["--validate-on-load", "--strict"]);
        self.run("aimock", &server, "TERM", || http_status(port, "/v1/models").is_some())?;
        self.urls.push(("KATENA_TEST_AIMOCK_URL", format!("http://127.0.0.1:{port}")));
        Ok(())
    }
}

/// A script of ours with the packages that it needs.
fn python(packages: &Path, script: &str) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(workspace::root().join("tools/servers").join(script));
    command
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn ids_of_nobody() -> Result<(u32, u32)> {
    let id = |flag: &str| -> Result<u32> {
        let text = output(Command::new("id").args([flag, "nobody"]))?;
        text.trim().parse().map_err(|_| Stop::Failed(format!("id said {text:?}")))
    };
    Ok((id("-u")?, id("-g")?))
}

/// The status that a GET gives, if a server answers at all.
fn http_status(port: u16, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// Whether a Redis server says that it is there.
fn redis_answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"+PONG\r\n")
    };
    ask().unwrap_or(false)
}

/// `cargo xtask servers`: for working on one test at a time.
pub(crate) fn run() -> Result<()> {
    setup::system(setup::TEST)?;
    let model = std::env::var_os("KATENA_TEST_CHAT_MODEL").map(PathBuf::from).map_or_else(
        || Ok(workspace::cache()?.join("models").join(crate::test::CHAT_MODEL)),
        Ok::<_, Stop>,
    )?;
    if !model.is_file() {
        return Err(Stop::NeedsYou(format!(
            "no {}; `cargo run -p katena-cli -- models fetch` gets it",
            model.display()
        )));
    }
    let servers = Servers::start(&model)?;
    for (name, value) in servers.environment() {
        println!("export {name}={value}");
    }
    crate::say("running; end of input (Ctrl-D) stops them");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
