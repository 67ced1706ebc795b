//! SIGHUP on an MX: recipients change at once, sinks never while it runs.

use rustix::process::Signal;

use super::{below, configuration, deliver, id_of, keep, ready};
use crate::process::maildir;
use crate::process::patience::eventually;
use crate::process::server::Server;

#[test]
fn recipients_take_effect_and_sinks_are_refused() {
    let old = configuration("delivered");
    let new = old.replace("['server.test']", "['other.test']");
    let mut server = Server::serve(&old, 1);
    let mut before = ready(server.address());
    id_of(&deliver(&mut before, &["r@server.test"], "1\r\n"));

    server.directory.write("ringmx.toml", &new);
    server.signal(Signal::HUP);
    server.output.await_text("again", 1);
    let mut after = eventually("a new session has the new list", || {
        let mut client = ready(server.address());
        client.say("MAIL FROM:<s@client.test>\r\n", "250");
        client.send("RCPT TO:<r@server.test>\r\n").expect("the server takes it");
        let reply = client.reply().expect("there is a reply");
        client.say("RSET\r\n", "250");
        (reply.is("550 5.7.1")).then_some(client)
    });
    id_of(&deliver(&mut after, &["r@other.test"], "2\r\n"));
    // One that began before goes on under the list that it began with.
    id_of(&deliver(&mut before, &["r@server.test"], "3\r\n"));
    before.quit();

    for (number, (changed, said)) in [
        (new.replace("'mail'", "'elsewhere'"), "a table [sink.NAME] cannot be changed while running"),
        (new.clone() + "[sink.more]\nkind = 'blackhole'\n", "a table [sink.NAME] cannot be changed while running"),
        (new.replace("sink_threads = 2", "sink_threads = 1"), "server.sink_threads cannot be changed while running"),
        // Its maildirs lie there.
        (new.replace("data_dir = 'data'", "data_dir = 'atad'"), "a table [sink.NAME] cannot be changed while running"),
        (new.clone() + "[log]\ndeliveries = 'other.log'\n", "the table [log] cannot be changed while running"),
    ]
    .into_iter()
    .enumerate()
    {
        // The recipients of a plan that is refused are refused with it.
        server.directory.write("ringmx.toml", changed.replace("other.test", "third.test"));
        server.signal(Signal::HUP);
        server.errors.await_text("the old configuration stays in force", number + 1);
        assert!(server.errors.so_far().contains(said), "{said:?} in\n{}", server.errors.so_far());
    }
    id_of(&deliver(&mut after, &["r@other.test"], "4\r\n"));
    after.quit();
    let directory = keep(&mut server);
    assert_eq!(server.stop().of_sink("store", "delivered"), 4);
    assert_eq!(maildir::new_mail(&below(&directory, "mail")).len(), 4);
    assert!(!below(&directory, "elsewhere").exists());
}
