//! What the kernel says of a process's memory.

use std::fs;

/// A field of its status, such as `VmHWM`, in KiB; `None` where the process is gone, or has no memory any more.
pub(crate) fn kib(process: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}
