use futures_util::FutureExt as _;

use super::*;

struct Files(PathBuf);

impl Files {
    fn new(name: &str, credentials: &str, config: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("katena-aws-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("credentials"), credentials).unwrap();
        std::fs::write(dir.join("config"), config).unwrap();
        Self(dir)
    }
    fn files(&self) -> ProfileFiles {
        ProfileFiles::new(self.0.join("credentials"), self.0.join("config"))
    }
    fn get(&self, profile: &str) -> Result<Credentials> {
        ProfileCredentials::new(profile, self.files()).credentials().now_or_never().expect("no network")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn keys_in_either_file() {
    let files = Files::new(
        "keys",
        "# mine\n[default]\naws_access_key_id = A ; note\naws_secret_access_key=a/b+c=\n\n[work]\nAWS_ACCESS_KEY_ID=W\n",
        "[default]\nregion = eu-central-1\naws_access_key_id = ignored\ns3 =\n  aws_access_key_id = nested\n\
         [profile work]\naws_secret_access_key = w\naws_session_token = t\n[sso-session x]\nregion=nowhere\n",
    );
    assert_eq!(files.get("default").unwrap(), Credentials::new("A", "a/b+c="));
    assert_eq!(files.get("work").unwrap(), Credentials::new("W", "w").with_session_token("t"));
    let region = |name| ProfileCredentials::new(name, files.files()).region().unwrap();
    assert_eq!((region("default").as_deref(), region("work")), (Some("eu-central-1"), None));
    assert_eq!(files.get("sso-session x").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn what_leads_nowhere() {
    let files = Files::new(
        "bad",
        "",
        "[profile empty]\n[profile a]\nrole_arn=r\nsource_profile=b\n[profile b]\nrole_arn=r\nsource_profile=a\n\
         [profile run]\ncredential_process=/bin/true\n[profile own]\nrole_arn=r\nsource_profile=own\n\
         [profile who]\nrole_arn=r\n",
    );
    let kinds = [
        ("none", ErrorKind::NotFound),
        ("empty", ErrorKind::Unauthenticated),
        ("a", ErrorKind::Config),
        ("run", ErrorKind::Unsupported),
        ("own", ErrorKind::Config),
        ("who", ErrorKind::Config),
    ];
    for (profile, kind) in kinds {
        assert_eq!(files.get(profile).unwrap_err().kind(), kind, "{profile}");
    }
    let nowhere = ProfileFiles::new("/nowhere/credentials", "/nowhere/config");
    let none = ProfileCredentials::new("default", nowhere).credentials().now_or_never().unwrap();
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
}
