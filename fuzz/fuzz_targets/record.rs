#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(lagan::cli::fuzzing::run("record", bytes));
});
