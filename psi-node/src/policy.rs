//! What this node allows: pure, from the job's policy and what happened before.

use crate::{
    config::Policy,
    fault::{Code, Fault},
};

/// Seconds over which runs are counted.
pub const DAY: u64 = 24 * 60 * 60;

/// Whether one more run is allowed after so many in the last [`DAY`], failed ones included.
///
/// # Errors
/// [`Code::Policy`], with the rule; the peer learns only that it was the policy.
pub fn allow_run(policy: &Policy, runs_in_last_day: u32) -> Result<(), Fault> {
    if runs_in_last_day < policy.max_runs_per_day {
        return Ok(());
    }
    let message = format!(
        "{runs_in_last_day} runs within 24 hours, failed ones included; max_runs_per_day = {}",
        policy.max_runs_per_day
    );
    Err(Fault::new(Code::Policy, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OutputMode;

    fn policy(max_runs_per_day: u32) -> Policy {
        let (min_items, max_items) = (1, 10);
        let output = OutputMode::Mutual;
        Policy {
            output,
            proved: true,
            min_items,
            max_items,
            max_runs_per_day,
            evidence_days: 0,
            openable: true,
        }
    }

    #[test]
    fn the_run_after_the_last_allowed_one_is_refused() {
        assert_eq!(allow_run(&policy(2), 1), Ok(()));
        assert_eq!(allow_run(&policy(2), 2).unwrap_err().code, Code::Policy);
        assert_eq!(allow_run(&policy(0), 0).unwrap_err().code, Code::Policy);
    }
}
