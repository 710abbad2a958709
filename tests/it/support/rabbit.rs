//! A private RabbitMQ for a test: started in a temporary folder by the server scripts, stopped when dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A running node. Dropping it stops the node.
pub struct Rabbit {
    folder: tempfile::TempDir,
    url: String,
}

fn script() -> PathBuf {
    let servers = std::env::var_os("DIFYLOG_TEST_SERVERS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers"), PathBuf::from);
    servers.join("rabbitmq.sh")
}

impl Rabbit {
    /// Starts a node and waits until it answers.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let printed = run("start", folder.path(), &[], &[]);
        Self { url: value_of("AMQP_URL", &printed), folder }
    }

    /// Starts a node that also listens with TLS, with a certificate of an authority made for it. Answers the URL for TLS
    /// and the authority's PEM file.
    pub fn start_with_tls() -> (Self, String, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(at("ca.pem"), authority_pem).unwrap();
        std::fs::write(at("server.pem"), server.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(at("server.key"), key.serialize_pem()).unwrap();
        let printed = run("start", folder.path(), &[], &[("RABBITMQ_TLS", folder.path())]);
        let authority = at("ca.pem");
        (Self { url: value_of("AMQP_URL", &printed), folder }, value_of("AMQPS_URL", &printed), authority)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the node in order and starts it again on the same port with the same data.
    pub fn restart(&self) {
        self.run("restart", &[]);
    }

    /// Ends the node as a power cut does.
    pub fn kill(&self) {
        self.run("kill", &[]);
    }

    /// Starts a node that was killed.
    pub fn start_again(&self) {
        self.run("start", &[]);
    }

    /// `rabbitmqctl` on this node.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.run("ctl", arguments)
    }

    fn run(&self, command: &str, arguments: &[&str]) -> String {
        run(command, self.folder.path(), arguments, &[])
    }
}

fn run(command: &str, folder: &Path, arguments: &[&str], environment: &[(&str, &Path)]) -> String {
    let script = script();
    let output =
        Command::new(&script).arg(command).arg(folder).args(arguments).envs(environment.iter().copied()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{}: {error}; DIFYLOG_TEST_SERVERS names the folder of the server scripts", script.display())
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {command} failed: {errors}", script.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn value_of(key: &str, printed: &str) -> String {
    let value = printed.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("{} printed no {key}: {printed}", script().display())).to_owned()
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        let _ = Command::new(script()).arg("stop").arg(self.folder.path()).output();
    }
}
