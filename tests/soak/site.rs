//! A registry with its processes: three on a bucket, or one on a folder.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::{Rng as _, rngs::StdRng};

use crate::certificate::write_certificate;
use crate::environment::variable_of_tests_run;
use crate::faults::Faults;
use crate::launcher::Launcher;
use crate::replica::{Condition, Replica, free_address};
use crate::s3::s3_fields;
use crate::settings::{GRACE, RESTORE_WINDOW, Settings};
use crate::starvation::Starvation;
use crate::tally::{Invariant, Tally};
use crate::versitygw::objects_under;

/// The name in the certificate that all replicas show each other.
const NAME: &str = "soak.example.com";

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) faults: Faults,
    pub(crate) starvation: Starvation,
    pub(crate) tally: Arc<Tally>,
    pub(crate) settings: Arc<Settings>,
    /// Where its files are: also those of a bucket, because its server keeps objects as files.
    pub(crate) files: PathBuf,
}

impl Site {
    /// Three processes on a bucket that have joined each other.
    pub(crate) async fn bucket(folder: &Path, settings: Arc<Settings>, tally: Arc<Tally>) -> Self {
        let (launcher, divisor) = (Launcher::new(), settings.times.divisor);
        write_certificate(folder, &[NAME]);
        let prefix = format!("soak-{}", ulid::Ulid::generate());
        let files = objects_under(&prefix);
        let s3 = s3_fields(&variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT"), &prefix, &folder.join("s3"));
        let at = |name: &str| folder.join(name).display().to_string();
        let mut replicas = Vec::new();
        for number in 0..3 {
            let control = free_address();
            let configuration = format!(
                "{}\nstorage: {{type: S3, s3: {{{s3}}}}}\ncontrol: {{listen: '{control}', advertise: '{control}', tls: \
                 {{certificate: {}, key: {}, clientAuthority: {}, serverName: {NAME}}}}}",
                common(),
                at("tls.crt"),
                at("tls.key"),
                at("ca.crt"),
            );
            replicas.push(
                Replica::start(&launcher, divisor, &folder.join(format!("bucket-{number}")), &configuration).await,
            );
        }
        Self {
            name: "bucket",
            replicas,
            faults: Faults::new(),
            starvation: Starvation::default(),
            tally,
            settings,
            files,
        }
    }

    /// One process on a folder.
    pub(crate) async fn folder(folder: &Path, settings: Arc<Settings>, tally: Arc<Tally>) -> Self {
        let (files, divisor) = (folder.join("content"), settings.times.divisor);
        fs::create_dir_all(&files).unwrap();
        let storage = format!("storage: {{type: Filesystem, filesystem: {{directory: {}}}}}", files.display());
        let configuration = format!("{}\n{storage}", common());
        let replica = Replica::start(&Launcher::new(), divisor, &folder.join("folder"), &configuration).await;
        Self {
            name: "folder",
            replicas: vec![replica],
            faults: Faults::new(),
            starvation: Starvation::default(),
            tally,
            settings,
            files,
        }
    }

    /// A replica for a request; now and then one that is known to be away.
    pub(crate) fn any(&self, rng: &mut StdRng) -> usize {
        let serving = self.serving();
        if serving.is_empty() || rng.random_bool(0.02) {
            return rng.random_range(0..self.replicas.len());
        }
        serving[rng.random_range(0..serving.len())]
    }

    /// Those that serve now, as far as anybody knows.
    pub(crate) fn serving(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|number| self.replicas[*number].condition() == Condition::Serving).collect()
    }

    pub(crate) fn count(&self, what: &'static str) {
        self.tally.add(self.name, what, 1);
    }

    pub(crate) fn violation(&self, invariant: Invariant, what: &str) {
        self.tally.violation(self.name, invariant, what);
    }

    pub(crate) fn spurious(&self, what: &str) {
        self.tally.spurious(self.name, what);
    }
}

fn common() -> String {
    format!(
        "auth: {{anonymous: All}}\ndeletion: {{restoreWindow: {}s}}\ngarbageCollection: {{gracePeriod: {}s}}",
        RESTORE_WINDOW.as_secs(),
        GRACE.as_secs()
    )
}
