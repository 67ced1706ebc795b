//! A program that embeds ringmx and consumes the mail that it takes, in threads of its own.
//!
//! ```sh
//! cargo run --release --example consume -- 127.0.0.1:2530 1000000
//! ```
//! takes a million messages at that address, prints how many there were and how many octets of content they had, and stops. To
//! send them: `ringmx-bench run 127.0.0.1:2530 -n 1000000`.

use std::error::Error;
use std::thread;

use ringmx::config::Plan;
use ringmx::engine::Engine;
use ringmx::handoff::consumer::Deliveries;

/// Takes so many deliveries, or all that come before the engine ends. Gives how many messages they were, and their octets.
fn consume(deliveries: Deliveries, most: u64) -> (u64, u64) {
    let (mut messages, mut octets) = (0, 0);
    for delivery in deliveries {
        messages += 1;
        octets += delivery.content().map(|piece| piece.len() as u64).sum::<u64>();
        // Dropped without this, it would come again.
        delivery.accept();
        if messages == most {
            break;
        }
    }
    (messages, octets)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:2530".to_owned());
    let most = arguments.next().map_or(Ok(1_000_000), |number| number.parse())?;
    let data_dir = std::env::temp_dir().join(format!("ringmx-consume-{}", std::process::id()));
    let plan = Plan::parse(
        &format!(
            "[server]\ndata_dir = {data_dir:?}\n\
             [listener.mx]\nkind = 'private'\nbind = {address:?}\ndurability = 'memory'\nsink = 'program'\n\
             [sink.program]\nkind = 'program'\n"
        ),
        "consume",
    )?;
    let (engine, mut consumers) = Engine::start_with_consumers(plan, false)?;
    for (listener, address) in engine.listening() {
        println!("listener {listener} is ready on {address}");
    }
    let deliveries = consumers.remove("program").and_then(|mut parts| parts.pop()).ok_or("the plan has this sink")?;
    let consumer = thread::spawn(move || consume(deliveries, most));
    let (messages, octets) = consumer.join().map_err(|_| "the consumer panicked")?;
    engine.stop();
    println!("{messages} messages, {octets} octets of content");
    std::fs::remove_dir_all(data_dir)?;
    Ok(())
}
