//! What is refused, on a disk that fails now and then.

use std::sync::Arc;

use rustix::io::Errno;

use super::*;
use crate::simulation::disk::{Fate, SimDisk, What};
use crate::sink::worker::tests::{batch, refuse, settlement};
use crate::spool::findings::Findings;

#[test]
fn what_could_not_be_kept_is_kept_once_and_told_of() {
    let (disk, findings) = (SimDisk::new(1), Arc::new(Findings::default()));
    let mut kept = Kept::new(settlement(&disk), Trouble::new("app".into(), Arc::clone(&findings)));
    let mut refused = batch(5);
    refuse(&mut refused);
    // The last of what is written for them fails twice: what stands before it is there already.
    let mut fails = 2;
    disk.set_plan(move |call| {
        let is_full = call.what == What::Create && fails > 0;
        fails -= i32::from(is_full);
        if is_full { Fate::Fails(Errno::NOSPC) } else { Fate::Done }
    });
    assert_eq!([(); 3].map(|()| kept.keep(&refused)), [false, false, true]);
    assert_eq!(kept.settlement.deferred().waiting_for_retry().messages, 5);
    let told = findings.take();
    assert!(told.len() == 1 && told[0].to_string().contains("\"app\""), "{told:?}");
    // Others are planned anew.
    let mut others = batch(2);
    refuse(&mut others);
    assert!(kept.keep(&others));
    assert_eq!(kept.settlement.deferred().waiting_for_retry().messages, 7);
    // It is not due for minutes.
    let mut due = Vec::new();
    kept.take_due(100, &mut due);
    assert!(due.is_empty() && kept.conclude(&[]));
    // After the next start it is there, too.
    drop(kept);
    assert_eq!(settlement(&disk).deferred().waiting_for_retry().messages, 7);
}

#[test]
fn what_is_given_up_is_not_mixed_with_others() {
    let disk = SimDisk::new(1);
    let mut kept = Kept::new(settlement(&disk), Trouble::new("app".into(), Arc::default()));
    disk.set_plan(|call| match call.what {
        What::Create => Fate::Fails(Errno::IO),
        _ => Fate::Done,
    });
    let mut first = batch(4);
    refuse(&mut first);
    assert!(!kept.keep(&first));
    kept.give_up(false);
    disk.set_plan(|_| Fate::Done);
    let mut second = batch(1);
    refuse(&mut second);
    assert!(kept.keep(&second));
    assert_eq!(kept.settlement.deferred().waiting_for_retry().messages, 1);
}
