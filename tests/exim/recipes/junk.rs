//! recipes/spam-feedback.conf: what the content filter finds takes back what greylisting has granted.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::{CLIENT, Place, SENDER, USER, include, put};
use crate::smtp::{Client, Reply};
use crate::world::{Exim, Lacking, World, in_own_world};

/// Answers what spamd would: 15 points for a message with the word JUNK in it, else none. SpamAssassin itself
/// is hundreds of megabytes; what is tested here is what Exim makes of its answer.
struct Filter {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Filter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:783").expect("bind spamd's port");
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                while let (Ok((connection, _)), false) = (listener.accept(), stop.load(Ordering::Relaxed)) {
                    judge(connection);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Filter {
    /// The connection ends the thread's wait for one. The thread that drops lives in the same namespace.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if TcpStream::connect("127.0.0.1:783").is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn judge(mut connection: TcpStream) {
    let mut message = Vec::new();
    connection.read_to_end(&mut message).unwrap();
    let junk = String::from_utf8_lossy(&message).contains("JUNK");
    let score = if junk { "True ; 15.0" } else { "False ; 0.0" };
    let _ = write!(connection, "SPAMD/1.1 0 EX_OK\r\nSpam: {score} / 5.0\r\n\r\nreport");
}

fn start_with_filter<'w>(world: &'w World, main: &str) -> (Filter, Exim<'w>) {
    let statements = "warn\n spam = nobody:true\n".to_owned() + &include("spam-feedback");
    (Filter::start(), world.start_exim(&(put(world, Place::BeforeData, &statements) + main)))
}

fn send(client: &str, text: &str) -> Reply {
    let mut client = Client::connect(client);
    client.mail(SENDER);
    let reply = client.rcpt(USER);
    if reply.code != 250 {
        return reply;
    }
    client.message(&format!("Subject: {text}\r\n\r\n{text}"))
}

/// A triplet that passed and turns out to send junk is known no longer; one that sends good mail stays known.
#[test]
fn junk_takes_back_what_was_earned() {
    in_own_world(|world| {
        let _running = start_with_filter(world, "");
        send(CLIENT, "good").expect_greylisted();
        send(CLIENT, "good").expect_accepted();
        world.configure("delay = \"1h\"");
        send(CLIENT, "good").expect_accepted();
        send(CLIENT, "JUNK").expect_accepted();
        send(CLIENT, "good").expect_greylisted();
        world.wait_for_log("eximgrey: forgotten for spam H=[198.51.100.7] F=<alice@sender.test>", 1);
        assert_eq!(world.log_lines("forgotten").len(), 1);
    });
}

/// Junk is taken from all that the sender is known by: its SPF domain too, which nobody asked about for known mail.
#[test]
fn junk_takes_back_the_spf_domain() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all");
        let _running = start_with_filter(world, "");
        send(CLIENT, "good").expect_greylisted();
        send(CLIENT, "good").expect_accepted();
        world.configure("delay = \"1h\"");
        send("192.0.2.7", "good").expect_accepted();
        send(CLIENT, "JUNK").expect_accepted();
        send("192.0.2.7", "good").expect_greylisted();
    });
}

/// Good mail that is known costs no look-up of SPF.
#[test]
fn good_mail_is_not_checked_for_spf() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        let _running = start_with_filter(world, "");
        send(CLIENT, "good").expect_greylisted();
        send(CLIENT, "good").expect_accepted();
        world.dns.take_queries();
        send(CLIENT, "good").expect_accepted();
        let queries = world.dns.take_queries();
        assert!(!queries.contains(&"sender.test/16".to_owned()), "{queries:?}");
        send(CLIENT, "JUNK").expect_accepted();
        let queries = world.dns.take_queries();
        assert!(queries.contains(&"sender.test/16".to_owned()), "{queries:?}");
    });
}

/// Who has switched SPF off has it off here as well.
#[test]
fn junk_is_not_checked_for_spf_where_that_is_switched_off() {
    in_own_world(|world| {
        let _running = start_with_filter(world, "EXIMGREY_SPF = no\n");
        send(CLIENT, "JUNK").expect_greylisted();
        send(CLIENT, "JUNK").expect_accepted();
        let queries = world.dns.take_queries();
        assert!(!queries.contains(&"sender.test/16".to_owned()), "{queries:?}");
    });
}

/// Junk of our own users and hosts takes nothing back, though they share a network with others.
#[test]
fn junk_of_our_own_takes_nothing_back() {
    in_own_world(|world| {
        let _running = start_with_filter(world, "");
        send("192.0.2.7", "good").expect_greylisted();
        send("192.0.2.7", "good").expect_accepted();
        world.configure("delay = \"1h\"");
        send("192.0.2.99", "JUNK").expect_accepted();
        let mut client = Client::connect("192.0.2.7");
        client.command("AUTH PLAIN AHVzZXIAc2VjcmV0").expect(235);
        client.mail(SENDER);
        client.rcpt(USER).expect_accepted();
        client.message("Subject: JUNK\r\n\r\ntext").expect_accepted();
        client.quit();
        send("192.0.2.7", "good").expect_accepted();
        assert_eq!(world.log_lines("forgotten").len(), 0);
    });
}

/// The threshold, or what is junk at all, is the administrator's.
#[test]
fn what_is_junk_is_the_administrators() {
    in_own_world(|world| {
        let _running = start_with_filter(world, "EXIMGREY_JUNK = ${if match{$h_subject:}{rubbish}}\n");
        send(CLIENT, "good").expect_greylisted();
        send(CLIENT, "good").expect_accepted();
        world.configure("delay = \"1h\"");
        send(CLIENT, "JUNK").expect_accepted();
        send(CLIENT, "good").expect_accepted();
        send(CLIENT, "rubbish").expect_accepted();
        send(CLIENT, "good").expect_greylisted();
    });
}

/// A filter that is out of order takes nothing back.
#[test]
fn filter_out_of_order_takes_nothing_back() {
    in_own_world(|world| {
        let statements = "warn\n spam = nobody:true/defer_ok\n".to_owned() + &include("spam-feedback");
        let _exim = world.start_exim(&put(world, Place::BeforeData, &statements));
        send(CLIENT, "JUNK").expect_greylisted();
        send(CLIENT, "JUNK").expect_accepted();
        world.configure("delay = \"1h\"");
        send(CLIENT, "JUNK").expect_accepted();
        assert!(world.panic_log().contains("spam"), "{}", world.panic_log());
        world.forget_panic_log();
    });
}
