//! What a row of answers about a starting cluster means.

use crate::error::{Aftermath, Error, Result};
use crate::status::Status;

/// How often in a row a cluster may be found stopped before it was seen starting.
const STOPPED_IN_A_ROW: u32 = 3;

/// Tells a cluster that is not yet starting from one that is over.
#[derive(Default)]
pub(crate) struct Watch {
    seen_alive: bool,
    stopped: u32,
}

impl Watch {
    pub(crate) fn look(&mut self, status: &Status, id: Option<&str>, errors: Vec<String>) -> Result<()> {
        match status {
            Status::Error => {
                Err(Error::ClusterFailed { id: id.map(str::to_owned), errors, after: Aftermath::Left })
            }
            Status::Stopped | Status::Closed | Status::Completed => {
                self.stopped += 1;
                if self.seen_alive || self.stopped >= STOPPED_IN_A_ROW {
                    let id = id.unwrap_or("(without id)").to_owned();
                    return Err(Error::ClusterStopped { id, status: status.clone(), after: Aftermath::Left });
                }
                Ok(())
            }
            _ => {
                // One that is still going down may be that of yesterday.
                self.seen_alive |= *status != Status::Stopping;
                self.stopped = 0;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_cluster_is_given_time_to_start_and_no_second_chance() {
        let mut watch = Watch::default();
        let mut look = |status: Status| watch.look(&status, Some("c"), Vec::new());
        assert!(
            look(Status::Stopping).is_ok() && look(Status::Stopped).is_ok() && look(Status::Pending).is_ok()
        );
        assert!(matches!(look(Status::Closed), Err(Error::ClusterStopped { .. })));
        let mut watch = Watch::default();
        let outcomes: Vec<bool> =
            (0..3).map(|_| watch.look(&Status::Stopped, None, Vec::new()).is_ok()).collect();
        assert_eq!(outcomes, [true, true, false]);
        let error = watch.look(&Status::Error, Some("c"), vec!["no".into(), "quota".into()]).unwrap_err();
        assert!(error.to_string().contains("no quota"), "{error}");
    }
}
