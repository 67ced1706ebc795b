//! What went wrong with a delivery, as the client is told and as the operator reads it.
//!
//! *Invariant*: every fault here is ours or the machine's, and temporary: a 5xx would bounce mail for good (RELIABILITY F1 to F4).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::handoff::delivery::{Refusal, Verdict};
use crate::smtp::reply::Reply;

/// See the module. Copies share the text.
#[derive(Clone, Debug)]
pub(super) struct Fault(Refusal);

impl Fault {
    /// The kernel refused: `what` was tried at the path `below` the root.
    pub(super) fn of(errno: Errno, what: &str, root: &Path, below: &[u8]) -> Self {
        // Joining nothing would leave a slash behind the root.
        let path = if below.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(below)) };
        let reply = match errno {
            Errno::DQUOT => Reply::MailboxFull,
            Errno::NOSPC | Errno::FBIG => Reply::InsufficientStorage,
            _ => Reply::DeliveryFailed,
        };
        let path = path.display();
        let why = match errno {
            Errno::LOOP => format!("{path}: {what}: symbolic links are not followed below the root"),
            _ => format!("{path}: {what}: {}", std::io::Error::from(errno)),
        };
        Self(Refusal::new(reply, why))
    }

    /// The root is not what it was, or not there.
    pub(super) fn root(root: &Path, what: &str) -> Self {
        Self(Refusal::new(Reply::DeliveryFailed, format!("{}: {what}", root.display())))
    }

    /// `quota_bytes` is reached.
    pub(super) fn quota(root: &Path, quota_octets: u64) -> Self {
        let why = format!("{}: quota_bytes = {quota_octets} would be exceeded", root.display());
        Self(Refusal::new(Reply::MailboxFull, why))
    }

    /// What is said to each recipient.
    pub(super) fn verdict(&self) -> Verdict {
        Err(self.0.clone())
    }

    /// In words.
    pub(super) fn why(&self) -> &Arc<str> {
        &self.0.why
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_path_and_error_and_is_temporary() {
        for (errno, reply, text) in [
            (Errno::NOSPC, Reply::InsufficientStorage, "No space left on device"),
            (Errno::FBIG, Reply::InsufficientStorage, "File too large"),
            (Errno::DQUOT, Reply::MailboxFull, "quota exceeded"),
            (Errno::ROFS, Reply::DeliveryFailed, "Read-only file system"),
            (Errno::IO, Reply::DeliveryFailed, "Input/output error"),
            (Errno::ACCESS, Reply::DeliveryFailed, "Permission denied"),
        ] {
            let Err(refusal) = Fault::of(errno, "cannot create a file", Path::new("/m"), b"x/a/tmp").verdict() else {
                panic!()
            };
            assert_eq!(refusal.reply, reply);
            assert!((400..500).contains(&refusal.reply.code()));
            assert!(refusal.why.starts_with("/m/x/a/tmp: cannot create a file: "), "{}", refusal.why);
            assert!(refusal.why.contains(text), "{}", refusal.why);
        }
        let quota = Fault::quota(Path::new("/m"), 7);
        assert_eq!(&**quota.why(), "/m: quota_bytes = 7 would be exceeded");
        assert_eq!(&**Fault::of(Errno::IO, "x", Path::new("/m"), b"").why(), "/m: x: Input/output error (os error 5)");
    }
}
