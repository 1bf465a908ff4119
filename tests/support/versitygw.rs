//! The tests' S3 server, seen from behind.

use std::path::{Path, PathBuf};

use super::environment::variable_of_tests_run;

/// Where it keeps the objects of the bucket whose names begin with a prefix, as files.
pub(crate) fn objects_under(prefix: &str) -> PathBuf {
    let servers = variable_of_tests_run("LAGAN_SERVERS_DIR");
    Path::new(&servers).join("versitygw").join(variable_of_tests_run("LAGAN_TEST_S3_BUCKET")).join(prefix)
}
