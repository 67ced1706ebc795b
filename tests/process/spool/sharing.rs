//! Fewer logs than shards: who writes to disk is served by those that have one, and all others by all.

use rustix::process::Signal;

use crate::process::client::Client;
use crate::process::directory::Directory;
use crate::process::maildir;
use crate::process::patience::eventually;
use crate::process::server::Server;

const CONFIGURATION: &str = "[server]\nhostname = 'mx.example.net'\nshards = 4\n[spool]\nshards = 2\nsegment_bytes = 4194304\nretain_s = 3600\n\
    [listener.mx]\nkind = 'public'\nbind = '127.0.0.1:0'\nrecipients = ['ALL']\nsink = 'store'\n\
    [listener.away]\nkind = 'blackhole'\nbind = '127.0.0.1:0'\n\
    [listener.disk]\nkind = 'blackhole'\nbind = '127.0.0.1:0'\ndisk = true\n\
    [sink.store]\nkind = 'maildir'\npath = 'mail'\n";

#[test]
fn mail_that_is_kept_is_taken_by_shards_that_have_logs() {
    let mut server = Server::serve(CONFIGURATION, 3);
    let ready = |listener| (0..12).map(|_| Client::ready(server.address_of(listener))).collect::<Vec<_>>();
    // Those that stand everywhere come first, and count.
    let all = [ready("away"), ready("mx"), ready("disk")];
    for mut client in all.into_iter().flatten() {
        client.deliver("kept, or not\r\n");
        client.quit();
    }
    let stats = server.stats_now();
    let messages = stats.of_shards("messages");
    assert_eq!(messages.iter().sum::<u64>(), 36);
    assert_eq!(messages[2..], [3, 3], "their part of what is thrown away: {messages:?}");
    assert_eq!(messages[0], messages[1], "what needs a log is shared by those that have one: {messages:?}");
    let spool = server.directory.path().join("data/spool");
    let has_log = |name: &str| spool.join(name).exists();
    for chain in ["durable", "blackhole"] {
        let logs: Vec<bool> = (0..4).map(|shard| has_log(&format!("{chain}-000{shard}"))).collect();
        assert_eq!(logs, [true, true, false, false], "{chain}");
    }

    // The shards of an address that is open stay.
    let changed = CONFIGURATION
        .replace("bind = '127.0.0.1:0'\n[listener.disk]", "disk = true\nbind = '127.0.0.1:0'\n[listener.disk]");
    assert_ne!(changed, CONFIGURATION);
    for (number, (changed, said)) in [
        (changed, "which listener.away has open, goes to disk (its shards are others)"),
        (CONFIGURATION.replace("[spool]\nshards = 2", "[spool]\nshards = 3"), "spool.shards cannot be changed"),
    ]
    .into_iter()
    .enumerate()
    {
        server.directory.write("ringmx.toml", changed);
        server.signal(Signal::HUP);
        server.errors.await_text("the old configuration stays in force", number + 1);
        assert!(server.errors.so_far().contains(said), "{said:?} in\n{}", server.errors.so_far());
    }

    // A shard that is there, and has a log no more: what lies in it is delivered, of which nobody knows any more that it was.
    server.signal(Signal::KILL);
    server.wait();
    for gone in ["spool/cursors", "mail"] {
        std::fs::remove_dir_all(server.directory.path().join("data").join(gone)).unwrap();
    }
    let directory = std::mem::replace(&mut server.directory, Directory::new());
    let fewer = CONFIGURATION.replace("[spool]\nshards = 2", "[spool]\nshards = 1");
    let server = Server::serve_in(directory, &fewer, 3);
    Client::ready(server.address_of("mx")).deliver("one more\r\n");
    let mail = server.directory.path().join("data/mail");
    eventually("all of it is delivered", || (maildir::new_mail(&mail).len() == 13).then_some(()));
    let stats = server.stop();
    // What is retained is in use: the report at the end knows of it.
    assert!(stats.of_spool("segments_in_use") > 0);
    let messages = stats.of_shards("messages");
    assert_eq!(messages, [1, 0, 0, 0]);
}
