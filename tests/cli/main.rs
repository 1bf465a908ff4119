//! The program as its users run it: `lagan up`, `lagan trash`, `lagan serve`, `lagan crd`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod convert;
mod folder;
mod newcomer;
mod retention;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lagan::oci::{Algorithm, Digest};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Long enough for a debug build on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn lagan() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lagan"));
    command.env_remove("RUST_LOG").env_remove("LAGAN_PASSWORD").env_remove("LAGAN_LISTEN");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `lagan up` in a folder of the test's, killed with it.
struct Up {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it said until it served.
    said: String,
    url: String,
}

impl Up {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = lagan();
        command.current_dir(folder).args(["up", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        let serving = loop {
            let begin = said.len();
            assert_ne!(out.read_line(&mut said).unwrap(), 0, "it does not serve: {said}");
            if let Some(serving) = said.get(begin..).filter(|line| line.contains("Serving ")) {
                break serving;
            }
        };
        let url = serving.split_whitespace().find(|word| word.starts_with("http")).unwrap().to_owned();
        Self { child, out, said, url }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "could not send {signal}");
    }

    /// Ends it in order.
    fn stop(mut self) {
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "a drain is no failure");
    }

    fn trash(&self, arguments: &[&str]) -> Output {
        lagan().arg("trash").args(arguments).args(["--registry", &self.url]).output().unwrap()
    }

    fn host(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line of a program that holds `part`; the ones before it are dropped.
fn line_with(out: &mut BufReader<ChildStdout>, part: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the program ended without saying {part:?}: {seen}");
        if line.contains(part) {
            return line;
        }
        seen.push_str(&line);
    }
}

/// An image of a config and a layer, with a content of its own.
struct Image {
    blobs: [Vec<u8>; 2],
    manifest: Vec<u8>,
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

impl Image {
    fn new(name: &str) -> Self {
        let config = json!({"architecture": "amd64", "os": "linux", "name": name}).to_string().into_bytes();
        let layer = format!("layer of {name} ").repeat(1000).into_bytes();
        let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": sha256(bytes).to_string(), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
        });
        Self { blobs: [config, layer], manifest: manifest.to_string().into_bytes() }
    }

    fn digest(&self) -> Digest {
        sha256(&self.manifest)
    }

    /// Pushes it; `Ok` only if the registry acknowledged all of it.
    async fn push(&self, client: &Client, url: &str, tag: &str) -> Result<(), String> {
        let failed = |error: reqwest::Error| error.to_string();
        for blob in &self.blobs {
            let url = format!("{url}/v2/app/blobs/uploads/?digest={}", sha256(blob));
            let answer = client.post(url).body(blob.clone()).send().await.map_err(failed)?;
            expect(&answer, StatusCode::CREATED)?;
        }
        let url = format!("{url}/v2/app/manifests/{tag}");
        let request = client.put(url).header("Content-Type", MANIFEST_TYPE).body(self.manifest.clone());
        expect(&request.send().await.map_err(failed)?, StatusCode::CREATED)
    }

    /// Everything of it is there, byte for byte.
    async fn assert_served(&self, client: &Client, url: &str, tag: &str) {
        let manifest = client.get(format!("{url}/v2/app/manifests/{tag}")).send().await.unwrap();
        assert_eq!(manifest.status(), StatusCode::OK, "manifest of {tag}");
        assert_eq!(manifest.bytes().await.unwrap(), self.manifest, "manifest of {tag}");
        for blob in &self.blobs {
            let found = client.get(format!("{url}/v2/app/blobs/{}", sha256(blob))).send().await.unwrap();
            assert_eq!(found.bytes().await.unwrap(), *blob, "blob of {tag}");
        }
    }
}

fn expect(answer: &reqwest::Response, status: StatusCode) -> Result<(), String> {
    if answer.status() == status { Ok(()) } else { Err(format!("{} answered {}", answer.url(), answer.status())) }
}

fn client() -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::builder().timeout(PATIENCE).build().unwrap()
}

#[tokio::test]
async fn image_deleted_from_an_empty_folder_s_registry_comes_back_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (client, image) = (client(), Image::new("one"));
    let up = Up::start(folder.path(), &[]);
    assert!(text(&up.trash(&["list"]).stdout).contains("The trash is empty."));
    image.push(&client, &up.url, "1").await.unwrap();
    image.assert_served(&client, &up.url, "1").await;

    let manifest = format!("{}/v2/app/manifests/{}", up.url, image.digest());
    let deleted = client.delete(&manifest).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    let gone = client.get(format!("{}/v2/app/manifests/1", up.url)).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    let body: Value = gone.json().await.unwrap();
    assert!(body.pointer("/errors/0/detail/restorableUntil").is_some(), "{body}");

    let listed = up.trash(&["list", "-o", "json"]);
    let entries: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(entries[0]["tags"], json!(["1"]), "{entries}");
    let tried = up.trash(&["restore", "app:1", "--dry-run"]);
    assert!(text(&tried.stdout).contains("would restore app:1"), "{tried:?}");
    let restored = up.trash(&["restore", "app:1"]);
    assert!(restored.status.success() && text(&restored.stdout).contains("restored app:1"), "{restored:?}");
    image.assert_served(&client, &up.url, "1").await;
    up.stop();

    let up = Up::start(folder.path(), &[]);
    image.assert_served(&client, &up.url, "1").await;
    assert!(folder.path().join("lagan-data/docker/registry/v2/blobs").is_dir());
    up.stop();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill_during_pushes() {
    let folder = tempfile::tempdir().unwrap();
    let client = client();
    let up = Up::start(folder.path(), &[]);
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let pushers: Vec<_> = (0..4)
        .map(|pusher| {
            let (client, url, acknowledged) = (client.clone(), up.url.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for number in 0.. {
                    let tag = format!("{pusher}-{number}");
                    if Image::new(&tag).push(&client, &url, &tag).await.is_err() {
                        return;
                    }
                    acknowledged.lock().unwrap().push(tag);
                }
            })
        })
        .collect();
    wait_until(|| acknowledged.lock().unwrap().len() >= 20).await;
    up.signal("-KILL");
    for pusher in pushers {
        pusher.await.unwrap();
    }
    drop(up);

    let up = Up::start(folder.path(), &[]);
    let acknowledged = acknowledged.lock().unwrap().clone();
    for tag in &acknowledged {
        Image::new(tag).assert_served(&client, &up.url, tag).await;
    }
    up.stop();
}

#[tokio::test]
async fn server_is_live_and_not_ready_until_the_other_process_gives_up_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let (client, image) = (client(), Image::new("handed over"));
    let up = Up::start(folder.path(), &[]);
    image.push(&client, &up.url, "1").await.unwrap();

    let (listen, health) = (free_address(), free_address());
    let directory = folder.path().join("lagan-data");
    let config = format!(
        "listen: {listen}\nhealth: {{listen: '{health}'}}\nauth: {{anonymous: All}}\nstorage: {{filesystem: {{directory: {}}}}}\n",
        directory.display()
    );
    let file = folder.path().join("serve.yaml");
    fs::write(&file, config).unwrap();
    let serve = lagan().arg("serve").arg("--config").arg(&file).stderr(Stdio::null()).spawn().unwrap();
    let mut serve = Killed(serve);
    let status = async |path: &str| client.get(format!("http://{health}/{path}")).send().await.ok().map(|a| a.status());
    let begun = Instant::now();
    while status("healthz").await != Some(StatusCode::OK) {
        assert!(begun.elapsed() < PATIENCE && serve.0.try_wait().unwrap().is_none(), "it does not live");
    }
    assert_eq!(status("readyz").await, Some(StatusCode::SERVICE_UNAVAILABLE));
    up.stop();
    while status("readyz").await != Some(StatusCode::OK) {
        assert!(begun.elapsed() < PATIENCE && serve.0.try_wait().unwrap().is_none(), "it does not get ready");
    }
    image.assert_served(&client, &format!("http://{listen}"), "1").await;
    let ended = Command::new("kill").args(["-TERM", &serve.0.id().to_string()]).status().unwrap();
    assert!(ended.success() && serve.0.wait().unwrap().success());
}

/// A program that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address that nobody listened on a moment ago.
fn free_address() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn wait_until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "it took too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const REGISTRY: &str = "apiVersion: lagan.dev/v1alpha1
kind: Registry
metadata:
  name: images
spec:
  tls: {mode: Disabled}
  auth: {anonymous: All}
";

const POLICY: &str = "---
apiVersion: lagan.dev/v1alpha1
kind: RetentionPolicy
metadata:
  name: five
  annotations: {lagan.dev/run-at: now}
spec:
  registryRef: {name: images}
  mode: MODE
  minimumAge: 0s
  keep:
    - {name: newest, tags: ['*'], mostRecentlyPushed: 5}
  untagged: {action: Delete, minimumAge: 0s}
  limits: {maxDeletePercent: 100}
";

#[tokio::test]
async fn policy_added_to_a_file_deletes_what_it_said_and_a_hold_brings_one_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lagan.yaml");
    fs::write(&file, REGISTRY).unwrap();
    let client = client();
    let mut up = Up::start(folder.path(), &["-f", "lagan.yaml"]);
    for number in 1..=12 {
        let tag = format!("v{number:02}");
        Image::new(&tag).push(&client, &up.url, &tag).await.unwrap();
    }

    fs::write(&file, format!("{REGISTRY}{}", POLICY.replace("MODE", "DryRun"))).unwrap();
    let said = line_with(&mut up.out, "policy default/five");
    assert!(said.contains("would delete 7 and keep 5"), "{said}");
    assert_eq!(tags(&client, &up.url).await.len(), 12, "a dry run changes nothing");

    let enforced = POLICY.replace("MODE", "Enforce").replace("run-at: now", "run-at: again");
    fs::write(&file, format!("{REGISTRY}{enforced}")).unwrap();
    let said = line_with(&mut up.out, "policy default/five");
    assert!(said.contains("deleted 7 tags and 7 manifests"), "{said}");
    assert_eq!(tags(&client, &up.url).await, ["v08", "v09", "v10", "v11", "v12"]);

    let held = format!("{enforced}  holds: [{{repository: app, reference: v01, reason: customer}}]\n");
    fs::write(&file, format!("{REGISTRY}{held}")).unwrap();
    line_with(&mut up.out, "restored app v01");
    Image::new("v01").assert_served(&client, &up.url, "v01").await;

    fs::write(&file, REGISTRY.replace("anonymous: All", "anonymous: Everything")).unwrap();
    let said = line_with(&mut up.out, "everything stays as it was");
    assert!(
        said.contains("policies delete nothing until this is right") && said.contains("spec.auth.anonymous"),
        "{said}"
    );
    Image::new("v12").assert_served(&client, &up.url, "v12").await;
    up.stop();
}

#[test]
fn file_that_is_gone_is_missed_aloud_and_its_policies_pause() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, policy) = (folder.path().join("registry.yaml"), folder.path().join("policy.yaml"));
    fs::write(&registry, REGISTRY).unwrap();
    fs::write(&policy, POLICY.replace("MODE", "DryRun")).unwrap();
    let mut up = Up::start(folder.path(), &["-f", "registry.yaml", "-f", "policy.yaml"]);

    fs::remove_file(&policy).unwrap();
    let said = line_with(&mut up.out, "could not be read");
    assert!(said.contains("policy.yaml") && said.contains("policies delete nothing"), "{said}");

    fs::write(&policy, POLICY.replace("MODE", "DryRun")).unwrap();
    line_with(&mut up.out, "policies go on");
    up.stop();
}

async fn tags(client: &Client, url: &str) -> Vec<String> {
    let list: Value = client.get(format!("{url}/v2/app/tags/list")).send().await.unwrap().json().await.unwrap();
    list["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn registry_without_credentials_of_its_own_gets_a_password_and_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let text_of = "apiVersion: lagan.dev/v1alpha1\nkind: Registry\nmetadata: {name: images}\nspec: {}\n";
    fs::write(folder.path().join("lagan.yaml"), text_of).unwrap();
    let up = Up::start(folder.path(), &["-f", "lagan.yaml"]);
    let keys = folder.path().join("lagan-data/default/images/lagan/up");
    let authority = fs::read(keys.join("trust/ca.crt")).unwrap();
    let subject = |pem: &[u8]| {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem).unwrap();
        pem.parse_x509().unwrap().subject().to_string()
    };
    let certificate = fs::read(keys.join("tls.crt")).unwrap();
    assert_ne!(subject(&certificate), subject(&authority), "OpenSSL would take it for self-signed");
    let password = fs::read_to_string(keys.join("admin-password")).unwrap();
    let _ = client();
    let trusted = reqwest::Certificate::from_pem(&authority).unwrap();
    let client = Client::builder().tls_certs_only([trusted]).build().unwrap();
    assert!(up.url.starts_with("https://"), "{}", up.url);
    let nobody = client.get(format!("{}/v2/", up.url)).send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    let admin = client.get(format!("{}/v2/", up.url)).basic_auth("admin", Some(&password)).send().await.unwrap();
    assert_eq!(admin.status(), StatusCode::OK);

    let ca = keys.join("trust/ca.crt").to_string_lossy().into_owned();
    let asked = lagan()
        .args(["trash", "list", "--registry", &up.url, "--ca", &ca, "--username", "admin"])
        .env("LAGAN_PASSWORD", &password)
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let refused = up.trash(&["list", "--ca", &ca]);
    assert!(text(&refused.stderr).contains("--username"), "{refused:?}");
    up.stop();
}

#[test]
fn address_that_others_reach_needs_credentials_or_so_many_words() {
    let folder = tempfile::tempdir().unwrap();
    let refused = lagan().current_dir(folder.path()).args(["up", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert!(text(&refused.stderr).contains("--allow-anonymous"), "{refused:?}");
    assert!(!folder.path().join("lagan-data").exists(), "nothing was made");
}

#[test]
fn invalid_configuration_exits_64_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let storage = format!("storage: {{filesystem: {{directory: {}}}}}", data.display());
    let file = folder.path().join("serve.yaml");
    for (rest, field) in [
        ("deletion: {restoreWindow: 5m}", "deletion.restoreWindow"),
        ("auth: {htpasswd: {file: /nowhere/users}}", "auth.htpasswd.file"),
        ("lissen: '127.0.0.1:1'", "lissen"),
        ("accessMode: Sometimes", "accessMode"),
    ] {
        fs::write(&file, format!("{storage}\n{rest}\n")).unwrap();
        let refused = lagan().arg("serve").arg("--config").arg(&file).output().unwrap();
        let message = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(64), "{rest}: {message}");
        assert!(message.contains("serve.yaml") && message.contains(field), "{rest}: {message}");
        assert!(!data.exists(), "{rest}: nothing was made");
    }
    let nothing = lagan().args(["serve", "--config", "/nowhere/serve.yaml"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(64));
    let unknown = lagan().arg("swim").output().unwrap();
    assert_eq!(unknown.status.code(), Some(64));
}

#[test]
fn registry_that_does_not_answer_exits_69_and_says_what_to_do() {
    // Port 9 of this machine: nobody discards there any more.
    let silent = lagan().args(["trash", "list", "--registry", "http://127.0.0.1:9"]).output().unwrap();
    assert_eq!(silent.status.code(), Some(69), "{silent:?}");
    assert!(text(&silent.stderr).contains("lagan up"), "{silent:?}");
}

#[test]
fn printed_definitions_are_the_committed_ones_and_the_chart_s() {
    let printed = lagan().arg("crd").output().unwrap();
    let mut files: Vec<_> = fs::read_dir("crds").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let committed: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert!(text(&printed.stdout) == committed.join("---\n"), "crds/ differs: run `lagan crd --directory crds`");
    for file in files {
        let copy = Path::new("charts/lagan/files/crds").join(file.file_name().unwrap());
        let same = fs::read(&copy).is_ok_and(|copy| copy == fs::read(&file).unwrap());
        assert!(same, "{} differs: run `lagan crd --directory charts/lagan/files/crds`", copy.display());
    }
}

#[test]
fn every_shell_gets_a_completion() {
    for shell in ["bash", "zsh", "fish"] {
        let script = lagan().args(["completion", shell]).output().unwrap();
        assert!(text(&script.stdout).contains("trash"), "{shell}");
    }
}

#[test]
#[ignore = "needs skopeo; tests/run installs it"]
fn skopeo_pushes_and_deletes_and_lagan_brings_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new("skopeo");
    write_layout(&folder.path().join("image"), &image);
    let up = Up::start(folder.path(), &[]);
    let target = format!("docker://{}/app:1", up.host());
    let skopeo = |arguments: &[&str]| {
        let output = Command::new("skopeo").current_dir(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "skopeo {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    skopeo(&["--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false", "oci:image:1", &target]);
    skopeo(&["delete", "--tls-verify=false", &target]);
    let gone = Command::new("skopeo").args(["inspect", "--tls-verify=false", &target]).output().unwrap();
    assert!(!gone.status.success(), "it was deleted");
    let restored = up.trash(&["restore", "app:1"]);
    assert!(restored.status.success(), "{restored:?}");
    up.stop();

    let up = Up::start(folder.path(), &[]);
    let target = format!("docker://{}/app:1", up.host());
    let found = skopeo(&["inspect", "--raw", "--tls-verify=false", &target]);
    assert_eq!(found.into_bytes(), image.manifest);
    up.stop();
}

/// Writes an image as a folder that skopeo reads.
fn write_layout(folder: &Path, image: &Image) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for blob in image.blobs.iter().chain([&image.manifest]) {
        fs::write(blobs.join(sha256(blob).hex()), blob).unwrap();
    }
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": MANIFEST_TYPE,
        "digest": image.digest().to_string(),
        "size": image.manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": "1"},
    }]});
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
}
