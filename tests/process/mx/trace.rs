//! A message has one name, which is everywhere the same.

use super::{below, configuration, deliver, id_of, keep, log, ready, told};
use crate::process::maildir;
use crate::process::server::Server;

#[test]
fn the_id_of_a_250_is_in_the_name_the_trace_and_the_log() {
    for durability in ["memory", "delivered"] {
        let mut server = Server::serve(&configuration(durability), 1);
        let mut client = ready(server.address());
        let to: [&[&str]; 3] = [&["a@server.test"], &["a@server.test", "B@Server.Test", "postmaster"], &["postmaster"]];
        let ids: Vec<String> = to
            .iter()
            .enumerate()
            .map(|(number, to)| id_of(&deliver(&mut client, to, &format!("Subject: {number}\r\n\r\n{number}\r\n"))))
            .collect();
        client.quit();
        let directory = keep(&mut server);
        let stats = server.stop();
        assert_eq!(stats.of_sink("store", "delivered"), 5);
        assert_eq!((stats.of_sink("store", "messages"), stats.of_sink("store", "octets")), (3, 3 * 17));
        for nothing in ["deferred", "refused", "failed", "given_up", "panics", "left_behind"] {
            assert_eq!(stats.of_sink("store", nothing), 0, "{nothing}");
        }
        let kept = maildir::new_mail(&below(&directory, "mail"));
        assert_eq!(kept.len(), 3);
        for (number, (id, to)) in ids.iter().zip(to).enumerate() {
            // The trace fields have it, and the message has no domain in `for` but a mailbox's.
            let told = if to == ["postmaster"] { super::Told { only: None, ..told(to) } } else { told(to) };
            let content = kept[id].content(&told, "\r\n");
            assert_eq!(content, format!("Subject: {number}\r\n\r\n{number}\r\n").as_bytes());
            assert_eq!(kept[id].name().2, super::HOST);
            for to in to {
                let line = format!(
                    " id={id} listener=mx sink=store from=<s@client.test> to=<{to}> size=17 result=delivered code=250 "
                );
                let lines = log(&directory);
                assert_eq!(
                    lines.iter().filter(|found| found.contains(&line)).count(),
                    1,
                    "{line}\n{}",
                    lines.join("\n")
                );
            }
        }
        assert_eq!(log(&directory).len(), 5);
    }
}
