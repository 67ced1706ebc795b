//! Times at which a wait is to end, which the kernel keeps as operations of the ring.
//!
//! *Invariants*: an alarm takes a place from when it is set until its completion has come; `Alarms::earliest` is the
//! earliest of those. *Does not know* who waits, or for what.
//!
//! *Why this way*: a wait with a time-out starts a timer of the kernel and takes it back when anything else ends the wait.
//! Where that timer is the processor's next, each of both sets the hardware, which in a virtual machine leaves the guest:
//! at 2,500 messages/s for each of two shards a message cost the server 27.7 µs with a time-out for each wait, and 24.7 µs
//! with alarms, of which one serves every wait until its time has come (2 vCPUs, Linux 6.18).

use io_uring::types::{TimeoutFlags, Timespec};
use io_uring::{opcode, squeue};

use crate::limits;
use crate::reactor::io::Time;

/// No alarm.
const NEVER: Time = Time(u64::MAX);

/// See the module.
#[derive(Debug)]
pub struct Alarms {
    /// When those that are set go off.
    at: [Time; limits::ALARMS],
    /// What the kernel reads of each when it is submitted. Boxed, because it must not move before that.
    times: Box<[Timespec; limits::ALARMS]>,
    earliest: Time,
}

impl Default for Alarms {
    /// None is set.
    fn default() -> Self {
        Self { at: [NEVER; limits::ALARMS], times: Box::new([Timespec::new(); limits::ALARMS]), earliest: NEVER }
    }
}

impl Alarms {
    /// Whether one goes off by then.
    pub fn covers(&self, until: Time) -> bool {
        self.earliest <= until
    }

    /// An alarm: the entry to submit. `None` when all places are taken.
    pub fn set(&mut self, at: Time) -> Option<squeue::Entry> {
        let place = self.at.iter().position(|taken| *taken == NEVER)?;
        self.at[place] = at;
        self.earliest = self.earliest.min(at);
        let time = &mut self.times[place];
        *time = Timespec::new().sec(at.0 / 1_000_000_000).nsec((at.0 % 1_000_000_000) as u32);
        let entry = opcode::Timeout::new(&raw const *time).flags(TimeoutFlags::ABS).build();
        // Its place, which is no token: those have a kind.
        Some(entry.user_data(place as u64))
    }

    /// An alarm went off, or could not be set.
    pub fn complete(&mut self, user_data: u64) {
        if let Some(at) = usize::try_from(user_data).ok().and_then(|place| self.at.get_mut(place)) {
            *at = NEVER;
            self.earliest = self.at.iter().copied().min().unwrap_or(NEVER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::mailbox::mailbox;
    use crate::reactor::buffers::GroupShape;
    use crate::reactor::io::{Completion, Io, Kind, Operation, Token};
    use crate::reactor::ring::{Ring, RingOptions};

    /// Waits that something else has ended leave alarms behind, which end no wait that came later; and there may be more of
    /// them than there are places.
    #[test]
    fn a_wait_lasts_until_its_time_whatever_alarms_are_set() {
        let (sender, receiver, wake) = mailbox::<()>().unwrap();
        let group = GroupShape { buffer_octets: 4096, buffers: 2 };
        let options = RingOptions { sockets: 1, submissions: 8, completions: 64, groups: vec![group] };
        let mut ring = Ring::new(&options, wake).unwrap();
        let token = Token { kind: Kind::Wake, generation: 1, slot: 0 };
        for wait in (0..2 * limits::ALARMS as u64).rev() {
            ring.start(token, Operation::AwaitWake);
            sender.send(()).unwrap();
            receiver.take();
            let until = ring.read_clock().plus_ms(60_000 + wait);
            ring.wait(Some(until)).unwrap();
            let woken = ring.complete();
            assert!(matches!(woken, Some(Completion { token: which, .. }) if which == token), "{woken:?}");
        }
        let mut ring = Ring::new(&options, mailbox::<()>().unwrap().2).unwrap();
        let start = ring.read_clock();
        for ms in [5, 9, 2] {
            ring.wake_at(start.plus_ms(ms));
        }
        ring.wait(Some(start.plus_ms(20))).unwrap();
        assert!(ring.now() >= start.plus_ms(20), "{:?}", ring.counts());
        let enters = ring.counts().enters;
        ring.wake_at(start.plus_ms(40));
        ring.wait(Some(start.plus_ms(40))).unwrap();
        assert!(ring.now() >= start.plus_ms(40));
        assert_eq!((ring.counts().enters - enters, ring.complete()), (1, None));
    }

    #[test]
    fn the_earliest_is_known_and_places_are_used_again() {
        let mut alarms = Alarms::default();
        assert!(!alarms.covers(Time(u64::MAX - 1)));
        for at in (1..=limits::ALARMS as u64).rev() {
            assert!(!alarms.covers(Time(at)));
            let entry = alarms.set(Time(at)).unwrap();
            assert_eq!(entry.get_user_data(), limits::ALARMS as u64 - at);
            assert!(alarms.covers(Time(at)) && !alarms.covers(Time(at - 1)));
        }
        assert!(alarms.set(Time(1)).is_none());
        alarms.complete(limits::ALARMS as u64 - 1);
        alarms.complete(u64::MAX);
        assert!(alarms.covers(Time(2)) && !alarms.covers(Time(1)));
        assert!(alarms.set(Time(7)).is_some() && alarms.set(Time(7)).is_none());
    }
}
