//! SIGTERM while much is under way, with a ledger outside (RELIABILITY F33); `tests/process/stopping.rs` has each case alone.

use std::sync::Barrier;

use rustix::process::Signal;

use crate::process::client::Client;
use crate::process::load::Load;
use crate::process::server::Server;

/// Every 250 that was heard was counted, though most of the messages were waiting for theirs when the signal came.
#[test]
fn under_load_with_answers_out_every_250_is_counted() {
    for delay in ["1ms", "30ms", "200ms"] {
        let server = Server::sink(&["--delay", delay]);
        let load = Load::start(server.address(), 16);
        load.go_on_for(64);
        let stats = server.stop();
        let ledger = load.finish();
        assert_eq!((ledger.unanswered, ledger.refused), (0, 0), "{delay}: an answer was out, and came: {ledger:?}");
        assert_eq!(stats.mail(), (ledger.acknowledged, ledger.acknowledged), "{delay}");
        assert_eq!(stats.total("message_octets"), ledger.octets, "{delay}");
        assert_eq!(stats.replies("Discarded"), ledger.acknowledged, "{delay}");
        assert_eq!((stats.total("connections_open"), stats.total("stale_completions")), (0, 0));
    }
}

/// Sessions in every phase at once: those in mail data end it, and all hear 421 as their last word.
#[test]
fn every_session_hears_421_as_its_last_word() {
    const EACH: usize = 40;
    let server = Server::sink(&[]);
    let address = server.address();
    let stopping = Barrier::new(2);
    let (begun, acknowledged) = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let mut clients: Vec<Client> = (0..EACH).map(|_| Client::in_mail_data(address)).collect();
            clients.iter_mut().for_each(|client| client.send("Subject: half\r\n").unwrap());
            stopping.wait();
            // The server is about to stop, or does so already.
            stopping.wait();
            let mut acknowledged = 0;
            for mut client in clients {
                client.say("and half\r\n.\r\n", "250 2.0.0");
                acknowledged += 1;
                client.expect("421 4.3.2");
                client.expect_end();
            }
            acknowledged
        });
        let mut idle: Vec<Client> = (0..EACH).map(|_| Client::ready(address)).collect();
        idle.extend((0..EACH).map(|_| Client::greeted(address)));
        for number in 0..EACH {
            let mut client = Client::ready(address);
            client.say("MAIL FROM:<>\r\n", "250");
            if number % 2 == 0 {
                client.say("RCPT TO:<a@b.test>\r\n", "250");
            }
            idle.push(client);
        }
        stopping.wait();
        server.signal(Signal::TERM);
        stopping.wait();
        let begun = idle.len() + EACH;
        for mut client in idle {
            client.expect("421 4.3.2");
            client.expect_end();
        }
        (begun as u64, receiving.join().expect("mail data comes to its end"))
    });
    let stats = server.finish();
    assert_eq!(stats.mail(), (acknowledged, acknowledged));
    assert_eq!((acknowledged, stats.replies("ShuttingDown")), (EACH as u64, begun));
    assert_eq!(stats.total("connections_closed"), stats.total("connections_accepted"));
}
