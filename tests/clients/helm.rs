//! helm: charts as artifacts.

use std::{fs, path::Path};

use crate::registry::Registry;
use crate::support::Program;

on_folder_and_bucket!(chart_is_pushed_found_by_its_version_and_installed);

fn chart_is_pushed_found_by_its_version_and_installed(registry: &Registry) {
    let chart = registry.folder().join("chart");
    for version in ["1.0.0", "1.2.0", "2.0.0"] {
        write_chart(&chart, version);
        helm(registry, "package").arg(&chart).arg("--destination").arg(registry.folder()).succeeds();
        let package = registry.folder().join(format!("app-{version}.tgz"));
        with_login(registry, helm(registry, "push").arg(package).arg(address(registry, "charts"))).succeeds();
    }
    assert_eq!(registry.address.tags("charts/app"), ["1.0.0", "1.2.0", "2.0.0"]);

    let newest = helm(registry, "show").args(["chart", &address(registry, "charts/app"), "--version", "^1.0.0"]);
    let newest = with_login(registry, newest).succeeds();
    assert!(newest.contains("version: 1.2.0"), "{newest}");

    let pulled = registry.folder().join("pulled");
    fs::create_dir(&pulled).unwrap();
    let pull = helm(registry, "pull").arg(address(registry, "charts/app")).args(["--version", "2.0.0"]);
    with_login(registry, pull.arg("--destination").arg(&pulled)).succeeds();
    let package = fs::read(pulled.join("app-2.0.0.tgz")).unwrap();
    assert_eq!(package, fs::read(registry.folder().join("app-2.0.0.tgz")).unwrap());

    let install = helm(registry, "install").args(["app", &address(registry, "charts/app"), "--dry-run=client"]);
    let installed = with_login(registry, install.args(["--version", "2.0.0"])).succeeds();
    assert!(installed.contains("chart-version: 2.0.0"), "{installed}");
}

/// helm with files of its own, to be completed.
fn helm(registry: &Registry, verb: &str) -> Program {
    let home = registry.folder().join("helm");
    ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"]
        .into_iter()
        .fold(Program::new("helm").arg(verb), |helm, name| helm.env(name, &home))
        // There is no cluster to look at, and it need not look for one.
        .env("KUBECONFIG", "/dev/null")
}

fn with_login(registry: &Registry, helm: Program) -> Program {
    let helm = helm.args(["--username", &registry.credentials().user, "--password", &registry.credentials().password]);
    helm.arg("--ca-file").arg(registry.address.authority())
}

fn address(registry: &Registry, path: &str) -> String {
    format!("oci://{}", registry.address.reference(path))
}

fn write_chart(chart: &Path, version: &str) {
    fs::create_dir_all(chart.join("templates")).unwrap();
    fs::write(chart.join("Chart.yaml"), format!("apiVersion: v2\nname: app\nversion: {version}\n")).unwrap();
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\ndata:\n  \
        chart-version: {{ .Chart.Version }}\n";
    fs::write(chart.join("templates/config.yaml"), template).unwrap();
}
