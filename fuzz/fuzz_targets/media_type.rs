#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(lagan::http::fuzzing::run("media_type", bytes));
});
