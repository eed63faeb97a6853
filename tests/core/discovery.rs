//! Nodes find each other, and notice who leaves.

use std::time::Duration;

use netaio_proto::LossReason;
use netaio_proto::sim::Faults;

use crate::network::{INTERVAL, Network, calm};

const NODES: usize = 50;

/// Nodes that have found each other.
fn acquainted(seed: u8) -> Network {
    let mut network = Network::managed(seed, NODES, calm());
    assert!(time_to_meet(&mut network, 2) <= 2.0);
    network
}

/// In how many intervals from now all know each other, of which there are at
/// most so many.
#[track_caller]
fn time_to_meet(network: &mut Network, limit: u32) -> f64 {
    let start = network.now();
    let end = start + INTERVAL * limit;
    let met = network.run_until(end, Network::all_know_each_other);
    let met = met.expect("they have not found each other in time");
    met.duration_since(start).as_secs_f64() / INTERVAL.as_secs_f64()
}

/// The time to meet at the worst of some seeds.
fn slowest(faults: Faults, limit: u32) -> f64 {
    let times = (1..=3).map(|seed| {
        let mut network = Network::managed(seed, NODES, faults);
        time_to_meet(&mut network, limit)
    });
    times.fold(0.0, f64::max)
}

#[test]
fn fifty_nodes_find_each_other_within_two_intervals() {
    assert!(slowest(calm(), 2) <= 2.0);
}

#[test]
fn fifty_nodes_find_each_other_in_spite_of_losses() {
    // What is lost is said again at the next interval.
    let faults = Faults {
        lost: 10,
        duplicated: 5,
        reordered: 20,
        ..calm()
    };
    assert!(slowest(faults, 4) <= 4.0);
}

#[test]
fn a_node_that_comes_later_finds_all_others_within_seconds() {
    let mut network = acquainted(4);
    network.run_for(INTERVAL * 3);
    network.join_managed();
    assert!(!network.all_know_each_other());
    let seconds = time_to_meet(&mut network, 1) * INTERVAL.as_secs_f64();
    assert!(seconds <= 2.1, "{seconds} s");
}

#[test]
fn crashed_nodes_are_lost_by_all_others_after_the_timeout_and_an_interval() {
    let mut network = acquainted(5);
    let crashed = [3, 14, 31];
    for member in crashed {
        network.members[member].up = false;
    }
    for member in 0..NODES {
        network.lost_by(member);
    }
    let addresses = crashed.map(|member| network.members[member].address);
    network.run_for(INTERVAL * 4);
    for member in 0..NODES {
        if !crashed.contains(&member) {
            let mut lost = network.lost_by(member);
            lost.sort_unstable_by_key(|(address, _)| *address);
            let expected = addresses.map(|a| (a, LossReason::TimedOut));
            assert_eq!(lost, expected, "by {member}");
        }
    }
    assert!(network.all_know_each_other());
}

#[test]
fn a_node_that_stops_managing_is_lost_at_once_and_says_no_more() {
    let mut network = acquainted(6);
    let leaving = 9;
    for member in 0..NODES {
        network.lost_by(member);
    }
    let now = network.now();
    network.members[leaving].node.stop_peer_management(now);
    network.run_for(Duration::from_millis(5));
    let left = (network.members[leaving].address, LossReason::Left);
    for member in 0..NODES {
        let expected = (member != leaving).then_some(left);
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(network.lost_by(member), expected, "by {member}");
    }
    network.sent.clear();
    network.run_for(INTERVAL * 3);
    let spoke = |member| network.sent.iter().any(|(_, by, _)| *by == member);
    assert!(!spoke(leaving));
    assert!((0..NODES).all(|member| member == leaving || spoke(member)));
    assert_eq!(network.members[leaving].node.poll_timeout(), None);
}

#[test]
fn advertisements_are_four_to_six_fifths_of_an_interval_apart() {
    let nodes = 20;
    let mut network = Network::managed(7, nodes, calm());
    network.run_for(INTERVAL * 2);
    network.sent.clear();
    network.run_for(INTERVAL * 20);
    let mut spans = Vec::new();
    for member in 0..nodes {
        let times = network.advertised(member);
        assert!(times.len() >= 16, "{} of {member}", times.len());
        spans.extend(times.windows(2).map(|w| w[1].duration_since(w[0])));
    }
    let (least, most) = (INTERVAL * 4 / 5, INTERVAL * 6 / 5);
    let outside = spans.iter().find(|span| **span < least || **span > most);
    assert_eq!(outside, None);
    // They are spread over all of it, so that nodes do not speak at one time.
    let tenth = INTERVAL / 10;
    for part in 0..4 {
        let start = least + tenth * part;
        let within = spans.iter().filter(|s| **s >= start && **s < start + tenth);
        assert!(within.count() > spans.len() / 8, "few in part {part}");
    }
}
