use rlar_rewards::monitor::{DriftAlert, DriftSignal, DriftThresholds, Monitor, ObservedReply, ObservedScore};

const THRESHOLDS: DriftThresholds = DriftThresholds {
    window: 4,
    uncovered: 0.1,
    flat: 0.95,
    agreement: -0.3,
    overpaid: 0.3,
    drift: 0.15,
    cooldown: 3,
    tries: 2,
};

/// A reply with the score of the tool `own` and the audit score.
fn reply(text: &'static str, reward: f64, audit: Option<f64>) -> ObservedReply<'static> {
    ObservedReply {
        prompt: "p",
        reference: None,
        reply: text,
        scores: vec![ObservedScore { tool: "own", score: Some(reward) }],
        reward: Some(reward),
        audit,
    }
}

fn unscored() -> ObservedReply<'static> {
    ObservedReply { prompt: "p", reference: None, reply: "r", scores: Vec::new(), reward: None, audit: None }
}

/// The alerts of a number of steps with the same groups.
fn after(steps: u64, groups: &[Vec<ObservedReply>]) -> Vec<DriftAlert> {
    let mut monitor = Monitor::default();
    (0..steps).filter_map(|step| monitor.observe(step, "d", groups, &THRESHOLDS, false)).collect()
}

fn signals(alerts: &[DriftAlert]) -> Vec<(DriftSignal, u64)> {
    alerts.iter().map(|a| (a.signal, a.step)).collect()
}

/// Groups of a healthy run: different rewards, and an audit that agrees.
fn healthy() -> Vec<Vec<ObservedReply<'static>>> {
    vec![vec![reply("good", 1.0, Some(1.0)), reply("bad", 0.0, Some(0.0))]; 4]
}

#[test]
fn a_healthy_run_reports_nothing() {
    assert!(after(50, &healthy()).is_empty());
    assert!(after(50, &[]).is_empty());
}

#[test]
fn prompts_without_a_tool_raise_an_alert_at_once_unless_they_are_few() {
    let groups = |bad: usize| {
        let mut groups = vec![vec![reply("r", 0.5, None), reply("s", 0.6, None)]; 10 - bad];
        groups.extend(vec![vec![unscored(), unscored()]; bad]);
        groups
    };
    assert_eq!(signals(&after(1, &groups(2))), [(DriftSignal::Coverage, 0)]);
    assert!(after(20, &groups(1)).is_empty(), "a tenth is within the threshold");
    assert!(after(1, &[vec![unscored(); 7]]).is_empty(), "seven replies are too few for an alert");
}

#[test]
fn groups_that_all_get_the_lowest_score_are_reported_when_the_window_is_full() {
    let flat = vec![vec![reply("r", 0.0, None), reply("s", 0.0, None)]; 4];
    assert_eq!(signals(&after(4, &flat)), [(DriftSignal::Signal, 3)]);
    assert!(after(3, &flat).is_empty());
    let mut some = flat.clone();
    some[0][0] = reply("r", 0.1, None);
    assert!(after(20, &some).is_empty(), "a quarter of the groups shows progress");
    let full = vec![vec![reply("r", 1.0, None), reply("s", 1.0, None)]; 4];
    assert!(after(20, &full).is_empty(), "solved prompts raise no alert");
}

#[test]
fn tools_that_rank_the_same_replies_the_opposite_way_are_reported_by_name() {
    let scored_by_two = |a: f64, b: f64| ObservedReply {
        scores: [("first", a), ("second", b)].map(|(tool, score)| ObservedScore { tool, score: Some(score) }).to_vec(),
        ..reply("r", f64::midpoint(a, b), None)
    };
    let group = |reversed: bool| {
        (0..6)
            .map(|i| scored_by_two(f64::from(i) / 5.0, f64::from(if reversed { 5 - i } else { i }) / 5.0))
            .collect::<Vec<_>>()
    };
    let alerts = after(4, &[group(true)]);
    assert_eq!(signals(&alerts), [(DriftSignal::Agreement, 3)]);
    assert!(alerts[0].summary.contains("first and second") && alerts[0].tools == ["first", "second"]);
    assert!(after(20, &[group(false)]).is_empty());
    assert!(after(20, &[group(true), group(false)]).is_empty(), "no correlation is no contradiction");
    assert!(after(20, &[group(true)[..3].to_vec()]).is_empty(), "a dozen pairs of replies are too few");
}

#[test]
fn a_tool_that_rewards_replies_with_low_audit_scores_is_reported_with_the_replies() {
    let groups = |bad: usize| {
        let group = |i: usize| if i < bad { reply("trick", 0.9, Some(0.1)) } else { reply("honest", 0.9, Some(0.9)) };
        vec![(0..10).map(group).collect::<Vec<_>>()]
    };
    let alerts = after(4, &groups(4));
    assert_eq!(signals(&alerts), [(DriftSignal::Hacking, 3)]);
    let overpaid: Vec<(&str, bool)> = alerts[0].overpaid.iter().map(|c| (c.reply.as_str(), c.good)).collect();
    assert_eq!(overpaid, [("trick", false)]);
    assert!(!alerts[0].summary.contains(|c: char| c.is_ascii_digit()), "{}", alerts[0].summary);
    assert!(after(20, &groups(3)).is_empty());
    let unpaid = vec![vec![reply("bad", 0.4, Some(0.0)); 10]];
    assert!(after(20, &unpaid).is_empty(), "replies with a low reward are not overpaid");
}

/// The alerts of a run whose rewards rise while the audit scores fall, with this number of audited replies per step.
fn drifting(replies: usize) -> Vec<DriftAlert> {
    let mut monitor = Monitor::default();
    let step = |step: u8| {
        let (reward, audit) = (0.1 + 0.1 * f64::from(step), 0.9 - 0.1 * f64::from(step));
        monitor.observe(step.into(), "d", &[vec![reply("r", reward, Some(audit)); replies]], &THRESHOLDS, false)
    };
    (0..4).filter_map(step).collect()
}

#[test]
fn a_reward_that_rises_while_the_audit_falls_is_reported_unless_few_replies_were_audited() {
    assert_eq!(signals(&drifting(2)), [(DriftSignal::Hacking, 3)]);
    assert!(drifting(1).is_empty(), "four audited replies are too few for an alert");
}

#[test]
fn an_alert_is_raised_again_after_the_cooldown_and_only_a_few_times() {
    let flat = vec![vec![reply("r", 0.0, None), reply("s", 0.0, None)]; 4];
    assert_eq!(signals(&after(50, &flat)), [(DriftSignal::Signal, 3), (DriftSignal::Signal, 6)]);
}

#[test]
fn a_domain_that_waits_for_new_tools_raises_no_alert_and_none_is_counted() {
    let flat = vec![vec![reply("r", 0.0, None), reply("s", 0.0, None)]; 4];
    let mut monitor = Monitor::default();
    assert!((0..20).all(|step| monitor.observe(step, "d", &flat, &THRESHOLDS, true).is_none()));
    let after: Vec<u64> =
        (20..60).filter_map(|step| monitor.observe(step, "d", &flat, &THRESHOLDS, false)).map(|b| b.step).collect();
    assert_eq!(after, [20, 23]);
}

#[test]
fn the_window_is_emptied_when_tools_are_replaced() {
    let flat = vec![vec![reply("r", 0.0, None), reply("s", 0.0, None)]; 4];
    let mut monitor = Monitor::default();
    let first = (0..4).find_map(|step| monitor.observe(step, "d", &flat, &THRESHOLDS, false));
    assert_eq!(first.unwrap().step, 3);
    monitor.reset("d");
    let again = (10..20).find_map(|step| monitor.observe(step, "d", &flat, &THRESHOLDS, false));
    assert_eq!(again.unwrap().step, 13, "the window fills anew");
    let other = (0..4).find_map(|step| monitor.observe(step, "e", &flat, &THRESHOLDS, false));
    assert_eq!(other.unwrap().domain, "e", "each domain for itself");
}

#[test]
fn a_monitor_that_is_saved_and_loaded_continues_unchanged() {
    let mixed = [healthy(), vec![vec![unscored()], vec![reply("trick", 0.9, Some(0.1))]]].concat();
    let mut whole = Monitor::default();
    for step in 0..3 {
        whole.observe(step, "d", &mixed, &THRESHOLDS, false);
    }
    let mut read: Monitor = serde_json::from_str(&serde_json::to_string(&whole).unwrap()).unwrap();
    assert_eq!(read, whole);
    for step in 3..12 {
        assert_eq!(
            read.observe(step, "d", &mixed, &THRESHOLDS, false),
            whole.observe(step, "d", &mixed, &THRESHOLDS, false)
        );
    }
    assert_eq!(read, whole);
}
