//! What the build needs from the system: found, installed where that is allowed, else asked for.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{has, output, works};
use crate::{Result, Stop, say};

/// Something that must be there, and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    package: &'static str,
    is_there: fn() -> bool,
}

/// What building Katena needs.
pub(crate) const BUILD: &[Need] = &[
    Need { package: "g++", is_there: || ["c++", "g++", "clang++"].into_iter().any(has) },
    Need { package: "cmake", is_there: || has("cmake") },
    Need { package: "make", is_there: || has("make") },
    Need { package: "libclang-dev", is_there: has_libclang },
];

/// What the tests need besides.
pub(crate) const TEST: &[Need] = &[Need {
    package: "python3-pip",
    is_there: || works(Command::new("python3").args(["-m", "pip", "--version"])),
}];

/// The generator of bindings loads libclang by name from these places.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() || cfg!(not(target_os = "linux")) {
        return true;
    }
    let in_dir = |dir: &Path| {
        std::fs::read_dir(dir).into_iter().flatten().flatten().any(|file| {
            let name = file.file_name();
            is_libclang(&name.to_string_lossy())
        })
    };
    let mut dirs: Vec<PathBuf> = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from).into();
    for entry in std::fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("llvm") {
            dirs.push(entry.path().join("lib"));
        } else if name.ends_with("-linux-gnu") {
            dirs.push(entry.path());
        }
    }
    dirs.iter().any(|d| in_dir(d))
}

/// The C interface to clang; `libclang-cpp`, which other packages bring, is another library.
fn is_libclang(file: &str) -> bool {
    file.starts_with("libclang.so")
        || file.starts_with("libclang-") && file.contains(".so") && !file.starts_with("libclang-cpp")
}

/// What this user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    Root,
    Sudo,
    None,
}

/// What to do about missing packages.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Run(Vec<Vec<String>>),
    Tell(String),
}

fn plan(missing: &[&str], rights: Rights, has_apt: bool) -> Plan {
    if missing.is_empty() {
        return Plan::Nothing;
    }
    let list = missing.join(" ");
    if !has_apt {
        return Plan::Tell(format!(
            "the build needs what Debian packages as: {list}\nInstall these with your system's package manager, then try again."
        ));
    }
    let install = format!("apt-get install -y --no-install-recommends {list}");
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let sudo = match rights {
        Rights::Root => "",
        Rights::Sudo => "sudo -n ",
        Rights::None => {
            return Plan::Tell(format!(
                "the set-up needs packages that only root can install. Run this, then try again:\n\n    sudo apt-get update && sudo {install}\n"
            ));
        }
    };
    Plan::Run(vec![words(&format!("{sudo}apt-get update")), words(&format!("{sudo}{install}"))])
}

fn rights() -> Rights {
    if user_id().is_ok_and(|id| id == 0) {
        Rights::Root
    } else if works(Command::new("sudo").args(["-n", "true"])) {
        Rights::Sudo
    } else {
        Rights::None
    }
}

/// The number of the user that runs this.
pub(crate) fn user_id() -> Result<u32> {
    let id = output(Command::new("id").arg("-u"))?;
    id.trim().parse().map_err(|_| Stop::Failed(format!("id -u said {id:?}")))
}

/// Makes sure that `needs` are there.
///
/// # Errors
/// `NeedsYou` with the command to run if this user may not install; `Failed` if installing failed.
pub(crate) fn system(needs: &[Need]) -> Result<()> {
    let missing: Vec<_> = needs.iter().filter(|n| !(n.is_there)()).map(|n| n.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    match plan(&missing, rights(), has("apt-get")) {
        Plan::Nothing => Ok(()),
        Plan::Tell(text) => Err(Stop::NeedsYou(text)),
        Plan::Run(lines) => {
            say(&format!("installing {}", missing.join(", ")));
            for line in &lines {
                let mut command = Command::new(&line[0]);
                command.args(&line[1..]).env("DEBIAN_FRONTEND", "noninteractive");
                let done = output(&mut command);
                // Lists that are partly out of reach may still hold what is needed: only the install decides.
                if let (Err(error), true) = (done, line.iter().any(|w| w == "install")) {
                    return Err(Stop::Failed(format!("{error}\nthe command was: {}", line.join(" "))));
                }
            }
            let still: Vec<_> = needs.iter().filter(|n| !(n.is_there)()).map(|n| n.package).collect();
            if still.is_empty() {
                return Ok(());
            }
            Err(Stop::Failed(format!("installed, but still not found: {}", still.join(", "))))
        }
    }
}

/// Compiles llama.cpp through ccache where it is there: the C++ takes minutes and hardly ever changes.
pub(crate) fn compiler_cache(command: &mut Command) {
    if has("ccache") {
        for name in ["CMAKE_C_COMPILER_LAUNCHER", "CMAKE_CXX_COMPILER_LAUNCHER"] {
            if std::env::var_os(name).is_none() {
                command.env(name, "ccache");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libclang_is_libclang() {
        for file in ["libclang.so", "libclang.so.1", "libclang-14.so.14.0.6", "libclang-19.so"] {
            assert!(is_libclang(file), "{file}");
        }
        for file in ["libclang-cpp.so.14", "libclang-cpp.so", "libclang-14.a", "libclang_rt.so"] {
            assert!(!is_libclang(file), "{file}");
        }
    }

    #[test]
    fn nothing_missing_does_nothing() {
        assert_eq!(plan(&[], Rights::None, true), Plan::Nothing);
    }

    #[test]
    fn root_installs_and_others_go_through_sudo() {
        let Plan::Run(lines) = plan(&["cmake", "libclang-dev"], Rights::Root, true) else { panic!() };
        assert_eq!(lines[0], ["apt-get", "update"]);
        assert_eq!(lines[1].join(" "), "apt-get install -y --no-install-recommends cmake libclang-dev");
        let Plan::Run(lines) = plan(&["cmake"], Rights::Sudo, true) else { panic!() };
        assert!(lines.iter().all(|l| l[0] == "sudo" && l[1] == "-n"), "never asks for a password");
    }

    #[test]
    fn without_rights_the_exact_command_is_told() {
        let Plan::Tell(text) = plan(&["cmake", "libclang-dev"], Rights::None, true) else { panic!() };
        let line =
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends cmake libclang-dev";
        assert!(text.lines().any(|l| l.trim() == line), "{text}");
        let Plan::Tell(text) = plan(&["cmake"], Rights::Root, false) else { panic!() };
        assert!(text.contains("cmake") && !text.contains("apt-get"));
    }
}
