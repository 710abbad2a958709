//! Servers of one test alone, for what must not be done to the server that all tests share.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Child, Command};

use tempfile::TempDir;

/// A server of this test alone, driven by the scripts in `tests/servers`; stopped when dropped.
pub struct Server {
    script: &'static str,
    /// Arguments between the verb and the folder: the engine's name.
    name: Option<String>,
    folder: TempDir,
}

impl Server {
    pub fn start(script: &'static str, name: Option<String>) -> Self {
        let server = Self { script, name, folder: TempDir::new().unwrap() };
        server.verb("start");
        server
    }

    pub fn verb(&self, verb: &str) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(self.script);
        let mut command = Command::new(script);
        command.arg(verb).args(&self.name).arg(self.folder.path().join("node"));
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {verb} failed: {errors}", self.script);
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn url(&self) -> String {
        self.verb("env").lines().find_map(|line| line.split_once('=')).unwrap().1.trim_matches(['"', '\'']).to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(self.script);
        let _ = Command::new(script).arg("stop").args(&self.name).arg(self.folder.path().join("node")).output();
    }
}

/// A process that is killed when dropped.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Deref for Killed {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Killed {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}
