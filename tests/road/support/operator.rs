//! The operator, installed with helm as a user installs it.

use std::{path::Path, sync::Mutex};

use super::{Kubectl, Program};

/// Where the chart's notes tell users to install it.
pub(crate) const NAMESPACE: &str = "lagan-system";

/// The release's name.
const RELEASE: &str = "lagan";

/// Whether this run has installed the operator: the first test that needs it does.
static INSTALLED: Mutex<bool> = Mutex::new(false);

/// The operator under test. There is one for the whole cluster.
pub(crate) struct Operator {
    pub(crate) kubectl: Kubectl,
}

impl Operator {
    /// The operator, ready; installed if no test before has done so.
    pub(crate) fn installed() -> Self {
        let operator = Self { kubectl: Kubectl::namespaced(NAMESPACE) };
        // A test that failed while it held the lock says nothing about the operator.
        let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !*installed {
            Self::install();
            *installed = true;
        }
        operator
    }

    /// Installs the chart with the image under test, or brings what is installed to that.
    pub(crate) fn install() {
        Self::install_with(&[]);
    }

    /// The same, with more values of the chart: each `name=JSON`.
    pub(crate) fn install_with(values: &[&str]) {
        let image = std::env::var("LAGAN_IMAGE").expect("LAGAN_IMAGE is not set: run this test through `tests/run`");
        let (repository, tag) = image.rsplit_once(':').expect("LAGAN_IMAGE is not repository:tag");
        helm(["upgrade", "--install", RELEASE])
            .arg(chart())
            .args(["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "3m"])
            // Tests take rights away with kubectl.
            .arg("--force-conflicts")
            .args(["--set", &format!("image.repository={repository}"), "--set", &format!("image.tag={tag}")])
            .args(["--set", "image.pullPolicy=IfNotPresent"])
            .args(values.iter().flat_map(|value| ["--set-json", value]))
            .succeeds();
    }

    pub(crate) fn uninstall() {
        helm(["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "2m"]).succeeds();
    }
}

/// The chart of this checkout.
pub(crate) fn chart() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/lagan"))
}

/// helm with these arguments, to be run.
pub(crate) fn helm<const N: usize>(arguments: [&str; N]) -> Program {
    Program::new("helm").args(arguments)
}

/// Prints what kubectl says, for somebody who looks into a failure.
pub(crate) fn show(title: &str, lines: &[String]) {
    eprintln!("---- {title}");
    for line in lines {
        eprintln!("$ kubectl {line}\n{}", Program::new("kubectl").args(line.split_whitespace()).output());
    }
    eprintln!("----");
}

/// `helm template` of the chart, with its CRDs, to be run.
pub(crate) fn helm_template() -> Program {
    helm(["template", RELEASE]).arg(chart()).args(["--namespace", NAMESPACE, "--include-crds"])
}
