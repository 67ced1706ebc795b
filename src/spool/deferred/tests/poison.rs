//! Mail over which the sink panics (RELIABILITY F24): it is put aside, and all other goes on.

use super::house::{Fate, House};
use crate::spool::deferred::Class;

#[test]
fn what_the_sink_panics_over_is_quarantined_and_the_rest_goes_on() {
    let mut house = House::new(1, &[5, 10, 20]);
    for number in 0..100 {
        house.post(2_000, &[if number % 10 == 3 { Fate::Panics } else { Fate::TakenAt(1) }]);
    }
    while house.turn(8, 8) > 0 {}
    let delivered: u32 = house.posted.values().flat_map(|posted| &posted.delivered).sum();
    assert_eq!(delivered, 90, "no other waits for it");
    house.run_dry();
    house.check();
    let deferred = house.settlement.deferred();
    assert_eq!(deferred.waiting_in(Class::Quarantined).messages, 10);
    assert_eq!(deferred.waiting_in(Class::Dead).messages, 0);
    assert!(house.posted.values().filter(|posted| posted.fates[0] == Fate::Panics).all(|posted| posted.attempts == 3));
}
