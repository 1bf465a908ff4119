//! The bucket of the tests' S3 server, as a registry's configuration names it.

use std::{fs, path::Path};

use super::environment::variable_of_tests_run;

/// The fields of `s3` for a part of the bucket that a test has for itself. The server's credentials are written into
/// a folder, which is made where it is missing.
pub(crate) fn s3_fields(endpoint: &str, prefix: &str, credentials: &Path) -> String {
    fs::create_dir_all(credentials).unwrap();
    for (file, variable) in
        [("AWS_ACCESS_KEY_ID", "LAGAN_TEST_S3_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "LAGAN_TEST_S3_SECRET_KEY")]
    {
        fs::write(credentials.join(file), variable_of_tests_run(variable)).unwrap();
    }
    format!(
        "bucket: {}, endpoint: '{endpoint}', addressing: Path, prefix: {prefix}, credentialsDirectory: {}",
        variable_of_tests_run("LAGAN_TEST_S3_BUCKET"),
        credentials.display()
    )
}
