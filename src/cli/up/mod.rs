//! `lagan up [--listen ADDRESS] [--health-listen ADDRESS] [--data DIR] [-f FILE…]`: the objects of a cluster on one machine.
//!
//! [`objects`](super::objects) reads the files and checks them as an API server would; [`site`] makes of each Registry what this
//! machine serves; [`serving`] serves one, [`policies`] runs its policies, [`keys`] keeps its password and certificate.

mod announcement;
mod keys;
mod neighbours;
mod policies;
mod referred;
mod serving;
mod site;

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::api::Validator;
use crate::api::v1alpha1::{LogFormat, LogLevel};

use super::exit::InvalidUsage;
use super::listener::raise_file_limit;
use super::objects::{Key, Objects};
use super::shutdown::Shutdown;
use super::site_policy::{self, SitePolicy};
use super::{output, telemetry};

use policies::DeclaredPolicies;
use site::{Place, Site};

/// How often files are looked at. They are small, and whoever saved one expects it to count soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many looks in a row may find a file gone or unreadable: for a moment it is, while it is saved.
const UNREADABLE_LOOKS: u32 = 3;

/// Serve registries on this machine, without a cluster.
///
/// Without files: one registry that keeps what is deleted for a week, for whoever is on this machine. With files: the
/// Registry and `RetentionPolicy` objects in them, with their Secrets beside. Files that change are read again.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address of the first registry; others take the next ports. Port 0 asks for a free one.
    #[arg(long, value_name = "ADDRESS", env = "LAGAN_LISTEN", default_value = "127.0.0.1:5000", value_parser = address)]
    listen: SocketAddr,
    /// Address of the first registry's /healthz, /readyz and /metrics; others take the next ports. Where it is not given,
    /// there are none.
    #[arg(long, value_name = "ADDRESS", env = "LAGAN_HEALTH_LISTEN", value_parser = address)]
    health_listen: Option<SocketAddr>,
    /// Folder of all data; with files, DIR/NAMESPACE/NAME of each registry.
    #[arg(long, value_name = "DIR", env = "LAGAN_DATA", default_value = "lagan-data")]
    data: PathBuf,
    /// YAML files with Registry, `RetentionPolicy` and Secret objects.
    #[arg(short, long = "file", value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Let whoever reaches the address push and delete, where it is another one than this machine's own.
    #[arg(long)]
    allow_anonymous: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:5000".to_owned())
}

/// Serves until a signal, and then until requests in progress are answered.
///
/// # Errors
/// [`InvalidUsage`] for the command line and the files; else what the system refuses.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { listen, health_listen, data, file, allow_anonymous } = arguments;
    let place = Place { listen, health_listen, data, allow_anonymous };
    let mut up = Up::new(place, file);
    let validator = Validator::new().context("could not make the definitions")?;
    let wanted = up.wanted(&validator)?;
    let served: Vec<&Site> = wanted.iter().map(|(site, _)| site).collect();
    for note in neighbours::notes(&up.place, &served) {
        output::print(&format!("Note: {note}"))?;
    }
    let _telemetry = telemetry::start(LogLevel::Warn, LogFormat::Text, None)?;
    raise_file_limit();
    Shutdown::listen()?.run(|drain| async move { up.serve(wanted, &validator, &drain).await }).await
}

/// Registries, and what is known of their files.
#[derive(Debug)]
struct Up {
    place: Place,
    files: Vec<PathBuf>,
    texts: Vec<(PathBuf, String)>,
    objects: Option<Objects>,
    running: BTreeMap<Key, Running>,
    tasks: JoinSet<(Key, anyhow::Result<()>)>,
    /// How many looks in a row found a file that cannot be read.
    unreadable: u32,
    /// Whether what was read last is wrong.
    is_wrong: bool,
}

/// A registry that runs.
#[derive(Debug)]
struct Running {
    site: Site,
    policies: watch::Sender<DeclaredPolicies>,
    stop: CancellationToken,
}

type Wanted = Vec<(Site, Vec<SitePolicy>)>;

impl Up {
    /// Of files of which nothing was read yet.
    fn new(place: Place, files: Vec<PathBuf>) -> Self {
        Self {
            place,
            files,
            texts: Vec::new(),
            objects: None,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            unreadable: 0,
            is_wrong: false,
        }
    }

    /// What the files want, read again.
    fn wanted(&mut self, validator: &Validator) -> anyhow::Result<Wanted> {
        if self.files.is_empty() {
            return Ok(vec![(self.place.default_site()?, Vec::new())]);
        }
        let texts = self.read()?;
        // What was read counts as read, also where it is wrong: it is wrong once, not every second.
        self.texts.clone_from(&texts);
        let objects = Objects::read(&texts, validator, self.objects.as_ref())?;
        let sites = self.place.sites(&objects)?;
        let remarks = site::remarks(&objects)?;
        let with_policies = |site: Site| Ok((site.clone(), site_policy::policies(&objects, &site.key)?));
        let wanted = sites.into_iter().map(with_policies).collect::<Result<Wanted, InvalidUsage>>()?;
        for remark in remarks {
            output::print(&format!("Note: {remark}"))?;
        }
        self.objects = Some(objects);
        Ok(wanted)
    }

    fn read(&self) -> Result<Vec<(PathBuf, String)>, InvalidUsage> {
        let read = |file: &PathBuf| match fs::read_to_string(file) {
            Ok(text) => Ok((file.clone(), text)),
            Err(error) => Err(InvalidUsage(format!("{}: could not be read: {error}", file.display()))),
        };
        self.files.iter().map(read).collect()
    }

    async fn serve(mut self, wanted: Wanted, validator: &Validator, drain: &CancellationToken) -> anyhow::Result<()> {
        let mut failure = None;
        self.change(wanted).await;
        loop {
            tokio::select! {
                () = drain.cancelled() => break,
                Some(ended) = self.tasks.join_next() => {
                    let (key, result) = ended.context("a registry broke off")?;
                    self.running.remove(&key);
                    if let Err(error) = result {
                        failure = Some(error);
                        break;
                    }
                }
                () = tokio::time::sleep(LOOK_EVERY), if !self.files.is_empty() => self.look_again(validator).await,
            }
        }
        self.running.values().for_each(|running| running.stop.cancel());
        while self.tasks.join_next().await.is_some() {}
        failure.map_or(Ok(()), Err)
    }

    async fn look_again(&mut self, validator: &Validator) {
        let texts = match self.read() {
            Ok(texts) => texts,
            Err(InvalidUsage(reason)) => return self.miss(&reason),
        };
        let was_missed = std::mem::take(&mut self.unreadable) >= UNREADABLE_LOOKS;
        if texts == self.texts {
            if was_missed && !self.is_wrong {
                self.mark_unreadable(false);
                let _ = output::print("The files can be read again, and policies go on.");
            }
            return;
        }
        let wanted = self.wanted(validator);
        self.is_wrong = wanted.is_err();
        let said = match wanted {
            Ok(wanted) => {
                self.change(wanted).await;
                "The files have changed, and were read again.".to_owned()
            }
            Err(error) => format!(
                "The files have changed, and everything stays as it was, but policies delete nothing until this is right: \
                 {error:#}"
            ),
        };
        // After what was read has come to the policies: not a moment with the ones before it.
        self.mark_unreadable(self.is_wrong);
        // A terminal that is gone must not stop a registry.
        let _ = output::print(&said);
    }

    /// Notes that a file cannot be read, and says so once that is no moment any more.
    fn miss(&mut self, reason: &str) {
        self.unreadable = self.unreadable.saturating_add(1);
        if self.unreadable == UNREADABLE_LOOKS {
            self.mark_unreadable(true);
            let _ = output::print(&format!(
                "{reason}. Registries serve on as they were; policies delete nothing until it can be read. To remove a \
                 policy, take it out of the file, or start again without the file."
            ));
        }
    }

    fn mark_unreadable(&self, is_unreadable: bool) {
        for running in self.running.values() {
            running
                .policies
                .send_if_modified(|known| std::mem::replace(&mut known.is_unreadable, is_unreadable) != is_unreadable);
        }
    }

    /// Stops what is not wanted any more, or differs; starts what is; hands on policies.
    async fn change(&mut self, wanted: Wanted) {
        let stays =
            |key: &Key, running: &Running| wanted.iter().any(|(site, _)| site.key == *key && *site == running.site);
        let gone: Vec<Key> =
            self.running.iter().filter(|(key, r)| !stays(key, r)).map(|(key, _)| key.clone()).collect();
        for key in &gone {
            if let Some(running) = self.running.remove(key) {
                running.stop.cancel();
            }
        }
        // Addresses and folders must be free before somebody else takes them.
        let mut waiting = gone.len();
        while waiting > 0 {
            match self.tasks.join_next().await {
                Some(Ok((key, result))) => {
                    waiting -= usize::from(gone.contains(&key));
                    self.running.remove(&key);
                    if let Err(error) = result {
                        tracing::error!("registry {}/{}: {error:#}", key.0, key.1);
                    }
                }
                Some(Err(_)) => waiting -= 1,
                None => break,
            }
        }
        for (site, policies) in wanted {
            match self.running.get(&site.key) {
                Some(running) => {
                    running.policies.send_if_modified(|known| {
                        let wanted = DeclaredPolicies { all: policies, is_unreadable: false };
                        let changed = *known != wanted;
                        *known = wanted;
                        changed
                    });
                }
                None => self.start(site, policies),
            }
        }
    }

    fn start(&mut self, site: Site, policies: Vec<SitePolicy>) {
        let (sender, receiver) = watch::channel(DeclaredPolicies { all: policies, is_unreadable: false });
        let stop = CancellationToken::new();
        let (key, serving) = (site.key.clone(), serving::serve(site.clone(), receiver, stop.clone()));
        let named = key.clone();
        self.tasks.spawn(async move { (named, serving.await) });
        self.running.insert(key, Running { site, policies: sender, stop });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: &str = "
apiVersion: lagan.dev/v1alpha1
kind: Registry
metadata: {name: images}
spec: {auth: {anonymous: All}}
---
apiVersion: lagan.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: builds}
spec:
  registryRef: {name: images}
  mode: Enforce
  keep: [{name: releases, tags: [\"v*\"], always: {}}]
";

    #[tokio::test]
    async fn policies_delete_nothing_while_what_the_files_say_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("objects.yaml");
        fs::write(&file, OBJECTS).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let place = Place { listen, health_listen: None, data: folder.path().join("data"), allow_anonymous: false };
        let mut up = Up::new(place, vec![file.clone()]);
        let validator = Validator::new().unwrap();
        let (site, all) = up.wanted(&validator).unwrap().remove(0);
        let (sender, policies) = watch::channel(DeclaredPolicies { all, is_unreadable: false });
        let running = Running { site: site.clone(), policies: sender, stop: CancellationToken::new() };
        up.running.insert(site.key, running);
        for (text, is_unreadable) in [
            (OBJECTS.replace("v*", "v["), true),
            (OBJECTS.replace("v*", "v["), true),
            (OBJECTS.replace("Enforce", "Perhaps"), true),
            (OBJECTS.replace("kind: ", "kind "), true),
            (OBJECTS.replace("v*", "r*"), false),
            (OBJECTS.replace("spec:", "spec: {"), true),
            (OBJECTS.to_owned(), false),
        ] {
            fs::write(&file, &text).unwrap();
            up.look_again(&validator).await;
            assert_eq!(policies.borrow().is_unreadable, is_unreadable, "{text}");
        }
    }
}
