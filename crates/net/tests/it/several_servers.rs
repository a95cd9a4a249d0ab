//! Several servers with the same model: which one gets a request, and what happens when one fails.

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use rlar_net::llm::{Llm, LlmError, OpenAi, OpenAiSettings, chat_all};
use rlar_net::{LeastOutstanding, ServerLease};

use crate::server::{ask, good, reply, serve, settings};

/// A client of these servers.
fn client_of(urls: &[&str], tries: u32) -> OpenAi {
    let others = urls[1..].iter().map(|url| (*url).to_owned()).collect();
    let deadline = Duration::from_secs(20);
    OpenAi::new(OpenAiSettings { others, tries, deadline, ..settings(urls[0]) }).unwrap()
}

#[test]
fn a_request_goes_to_the_server_with_the_fewest_in_progress() {
    let servers = LeastOutstanding::new(3);
    let leases: Vec<_> = (0..6).map(|_| servers.lease(0..3, &[]).unwrap()).collect();
    assert_eq!(leases.iter().map(ServerLease::index).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
    let kept: Vec<_> = leases.into_iter().filter(|lease| lease.index() != 1).collect();
    assert_eq!(servers.lease(0..3, &[]).map(|lease| lease.index()), Some(1), "its leases are over");
    drop(kept);

    let held = [servers.lease([0], &[]).unwrap(), servers.lease([1], &[]).unwrap(), servers.lease([1], &[]).unwrap()];
    assert_eq!(servers.lease(0..3, &[]).map(|lease| lease.index()), Some(2));
    assert_eq!(servers.lease(0..2, &[]).map(|lease| lease.index()), Some(0));
    assert_eq!(servers.lease(0..2, &[0]).map(|lease| lease.index()), Some(1), "server 0 has failed on this request");
    assert_eq!(servers.lease(0..3, &[0, 1, 2]).map(|lease| lease.index()), Some(2), "all have failed on it");
    assert!(servers.lease([], &[]).is_none() && servers.lease([3], &[]).is_none());
    drop(held);
}

#[test]
fn a_server_that_fails_three_times_in_a_row_rests() {
    let servers = LeastOutstanding::new(2);
    let next = || servers.lease(0..2, &[]).unwrap().index();
    let fails = |count: usize| (0..count).map(|_| servers.lease([0], &[]).unwrap().failed()).collect::<Vec<_>>();
    assert_eq!(fails(2), [false, false]);
    servers.lease([0], &[]).unwrap().succeeded();
    assert_eq!((fails(2), next()), (vec![false, false], 0));
    assert_eq!((fails(1), next()), (vec![true], 1));
    let busy = servers.lease([1], &[]).unwrap();
    assert_eq!(next(), 1, "a busy server is better than a broken one");
    assert_eq!(servers.lease([0], &[]).map(|lease| lease.index()), Some(0), "where there is no other, it is asked");
    drop(busy);
    servers.forget_failures(0);
    assert_eq!(next(), 0);
}

#[test]
fn chats_go_to_all_servers_at_the_same_time() {
    // Each server answers once both have a chat.
    let both = Arc::new(Barrier::new(2));
    let start = |both: Arc<Barrier>| {
        serve(move |_, _, _, s| {
            both.wait();
            good(s, "yes");
        })
    };
    let (first, second) = (start(both.clone()), start(both));
    let model = client_of(&[&first.0, &second.0], 1);
    assert_eq!(model.concurrency(), 2, "one with each server");
    let requests: Vec<_> = ["a", "b", "c", "d"].map(ask).to_vec();
    assert!(chat_all(&model, &requests, &|| false).iter().all(Result::is_ok));
    assert_eq!((first.1.load(Ordering::SeqCst), second.1.load(Ordering::SeqCst)), (2, 2));
    assert_eq!(model.name(), format!("small at {}", first.0), "further servers do not change the name");
}

#[test]
fn a_chat_that_a_server_fails_on_is_answered_by_another_at_once() {
    // It asks to wait for longer than the deadline, which is no reason not to ask another server.
    let (busy, busy_count) = serve(|_, _, _, s| reply(s, "503 Busy", "retry-after: 3600\r\n", ""));
    let (well, well_count) = serve(|_, _, _, s| good(s, "yes"));
    let model = client_of(&[&busy, &well], 2);
    for _ in 0..5 {
        assert_eq!(model.chat(&ask("it")).unwrap().text, "yes");
    }
    assert_eq!((busy_count.load(Ordering::SeqCst), well_count.load(Ordering::SeqCst)), (3, 5));
}

#[test]
fn a_chat_that_all_servers_fail_on_is_an_error_and_a_refusal_is_final() {
    let gone = format!("http://{}/v1", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let (broken, count) = serve(|_, _, _, s| drop(s));
    let error = client_of(&[&gone, &broken], 2).chat(&ask("it")).unwrap_err();
    assert!(matches!(&error, LlmError::Request { address, .. } if address.starts_with(&broken)), "{error}");
    assert!(error.to_string().contains("tried 2 times") && count.load(Ordering::SeqCst) == 1, "{error}");

    let (refusing, _) = serve(|_, _, _, s| reply(s, "401 Unauthorized", "", ""));
    let (well, count) = serve(|_, _, _, s| good(s, "yes"));
    let error = client_of(&[&refusing, &well], 4).chat(&ask("it")).unwrap_err().to_string();
    assert!(error.contains("401") && count.load(Ordering::SeqCst) == 0, "{error}");
}
