//! A shard's counters: who reads them sees them grow. What they do *not* promise is shown as well. The writer goes
//! first, on the model's own thread: see the head of `lib.rs`.

use loom::sync::Arc;
use loom::thread;

macro_rules! only_grows {
    ($variant:ident) => {
        loom::model(|| {
            let counter = Arc::new(ringmx_loom::$variant::Counter::default());
            let read = Arc::clone(&counter);
            let reader = thread::spawn(move || {
                let (first, second) = (read.get(), read.get());
                assert!(first <= second, "{first} and then {second}: a counter goes back");
                assert!([0, 1, 3].contains(&second), "{second} was never written");
            });
            counter.one();
            counter.add(2);
            reader.join().unwrap();
            assert_eq!(counter.get(), 3);
        })
    };
}

#[test]
fn a_counter_only_grows() {
    only_grows!(counter);
}

mod this_sees {
    use super::*;
    use ringmx_loom::counter::Counter;

    #[test]
    #[should_panic = "a counter goes back"]
    fn a_counter_that_is_written_in_two_steps() {
        only_grows!(counts_in_two_steps);
    }

    /// Why only the shard's thread may write.
    #[test]
    #[should_panic = "an addition is lost"]
    fn a_second_writer() {
        loom::model(|| {
            let counter = Arc::new(Counter::default());
            let second = Arc::clone(&counter);
            let thread = thread::spawn(move || second.one());
            counter.one();
            thread.join().unwrap();
            assert_eq!(counter.get(), 2, "an addition is lost");
        });
    }

    /// Two counters are read one after the other, and in no order with what was written: a report may have a message
    /// without its octets, or octets without their message.
    #[test]
    #[should_panic = "two counters are of two moments"]
    fn a_report_that_is_not_of_one_moment() {
        loom::model(|| {
            let counters = Arc::new((Counter::default(), Counter::default()));
            let read = Arc::clone(&counters);
            let reader = thread::spawn(move || {
                let (second, first) = (read.1.get(), read.0.get());
                assert!(first >= second, "two counters are of two moments");
            });
            counters.0.one();
            counters.1.one();
            reader.join().unwrap();
        });
    }
}
