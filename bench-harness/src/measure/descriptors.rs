//! How many files this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// Raises the limit to what is needed.
pub fn raise(needed: u64) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let hard = limit.maximum.map(|maximum| maximum.max(needed));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: hard });
    raised.map_err(|error| {
        let current = limit.current.unwrap_or(0);
        Failure::Unavailable(format!(
            "{needed} open files are needed, and the limit of {current} cannot be raised: {error}"
        ))
    })
}
