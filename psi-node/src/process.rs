//! What this process has used, by the operating system's account.

use nix::sys::resource::{UsageWho, getrusage};

/// CPU seconds so far, user and system, all threads.
pub fn cpu_seconds() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        [usage.user_time(), usage.system_time()]
            .iter()
            .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
            .sum()
    })
}

/// The most memory that was resident at a time, in bytes (`VmHWM`).
pub fn peak_rss_bytes() -> u64 {
    // Linux counts ru_maxrss in KiB; it is the same figure as VmHWM.
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss() as u64 * 1024)
}
