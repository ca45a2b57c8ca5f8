//! What is told of a run that is complete.

use super::{Run, list::ListCounts, phases::Finished};
use crate::{
    input::Key,
    process,
    report::{ListSummary, Summary},
    runs::AttemptList,
};

impl Run<'_> {
    pub(super) fn summary(&self, finished: Finished, bytes: [u64; 2]) -> Summary {
        let Finished { folder, attempt, counts } = finished;
        let rows = attempt.rows.unwrap_or_default();
        let keys = self.job.input.keys.iter().zip(&counts.lists);
        let lists: Vec<ListSummary> = attempt
            .lists
            .into_iter()
            .zip(keys)
            .map(|(list, (key, counts))| list_summary(list, key, counts))
            .collect();
        Summary {
            run_id: attempt.run_id,
            peer: self.job.peer.clone(),
            items_ours: lists.iter().map(|list| list.items_ours).sum(),
            items_theirs: lists.iter().map(|list| list.items_theirs).sum(),
            matches: lists.iter().map(|list| list.matches).sum(),
            proved: self.job.policy.proved,
            output: attempt.output,
            run_folder: folder,
            seconds: (self.node.clock().monotonic() - self.started).as_secs_f64(),
            bytes_sent: bytes[0],
            bytes_received: bytes[1],
            cpu_seconds: process::cpu_seconds(),
            peak_rss_bytes: process::peak_rss_bytes(),
            rows_read: counts.read,
            rows_rejected: counts.rejects.total,
            rows_duplicate: lists.iter().map(|list| list.rows_duplicate).sum(),
            rows_written: rows.written,
            cells_rejected: counts.rejects.cells,
            lists,
            resumed: attempt.resumed,
            rejects_file: attempt.rejects,
            only_new: attempt.only_new,
            rows_known: rows.known,
            since: rows.since,
            rejects: counts.rejects,
        }
    }
}

fn list_summary(list: AttemptList, key: &Key, counts: &ListCounts) -> ListSummary {
    ListSummary {
        profile: list.profile,
        columns: key.columns.clone(),
        items_ours: list.items_ours,
        items_theirs: list.items_theirs,
        matches: list.matches.unwrap_or_default(),
        rows_duplicate: counts.duplicates,
        rows_warned: counts.warnings.clone(),
    }
}
