use super::*;

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn press(state: &mut State, keys: &str) -> Action {
    let mut last = Action::None;
    for c in keys.chars() {
        last = state.on_key(key(KeyCode::Char(c)));
    }
    last
}

fn clients(ids: &[&str]) -> String {
    let list = |ids: &[&str]| ids.iter().map(|id| format!(r#"{{"id":"{id}","peer":"peer-{id}"}}"#)).collect::<Vec<_>>();
    let by_lag = list(ids).join(",");
    format!(r#"{{"total":9,"behind":3,"by_lag":[{by_lag}],"by_work":[{{"id":"9.9.9"}}],"news":[1]}}"#)
}

fn state(ids: &[&str]) -> State {
    let mut state = State::new(Sort::Lag);
    state.take("$sys/clients", clients(ids).as_bytes());
    state
}

#[test]
fn the_chosen_client_stays_chosen_where_it_moves() {
    let mut state = state(&["0.1.1", "0.2.1", "0.3.1"]);
    press(&mut state, "j");
    assert_eq!(state.client().unwrap().id, "0.2.1");
    state.take("$sys/clients", clients(&["0.3.1", "0.1.1", "0.2.1"]).as_bytes());
    assert_eq!((state.client().unwrap().id.as_str(), state.at[0]), ("0.2.1", 2));
    // It is gone: the place is kept, as far as there is one.
    state.take("$sys/clients", clients(&["0.3.1"]).as_bytes());
    assert_eq!(state.client().unwrap().id, "0.3.1");
    state.take("$sys/clients", clients(&[]).as_bytes());
    assert!(state.client().is_none());
    assert_eq!(press(&mut state, "jkGgc"), Action::None);
}

#[test]
fn a_client_is_closed_after_a_yes_and_nothing_else() {
    let mut state = state(&["0.1.1"]);
    press(&mut state, "c");
    assert_eq!(state.focus, Focus::Ask("0.1.1".into()));
    assert_eq!(press(&mut state, "n"), Action::None);
    assert_eq!(state.focus, Focus::List);
    assert_eq!(press(&mut state, "cy"), Action::Close("0.1.1".into()));
    press(&mut state, "2c");
    assert_eq!(state.focus, Focus::List, "only where clients are seen");
}

#[test]
fn keys_sort_filter_and_end() {
    let mut state = state(&["0.1.1", "0.2.1"]);
    press(&mut state, "s");
    assert_eq!(state.client().unwrap().id, "9.9.9");
    press(&mut state, "s/0.2");
    assert_eq!((state.clients().len(), state.focus.clone()), (1, Focus::Filter));
    assert_eq!(press(&mut state, "q"), Action::None, "a letter of the filter");
    state.on_key(key(KeyCode::Backspace));
    state.on_key(key(KeyCode::Enter));
    assert_eq!(state.filter, "0.2");
    state.on_key(key(KeyCode::Esc));
    assert!(state.filter.is_empty());
    for _ in 0..2 * FILTER_MAX {
        press(&mut state, "/x");
    }
    assert_eq!(state.filter.chars().count(), FILTER_MAX);
    let mut state = self::state(&[]);
    assert_eq!(press(&mut state, "q"), Action::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    press(&mut state, "/");
    assert_eq!(state.on_key(interrupt), Action::Quit, "also while a filter is typed");
}

#[test]
fn rates_are_of_one_run() {
    let mut state = State::new(Sort::Lag);
    let shards = |at_ms: u64, deliveries: u64, dropped: u64| {
        format!(r#"{{"at_ms":{at_ms},"total":{{"deliveries":{deliveries},"dropped_low":{dropped},"x":"y"}}}}"#)
    };
    state.take("$sys/shards", shards(1_000, 500, 5).as_bytes());
    assert!(state.rates.is_none());
    state.take("$sys/shards", shards(3_000, 900, 9).as_bytes());
    let rates = state.rates.unwrap();
    assert_eq!((rates.deliveries, rates.lost), (200.0, 2.0));
    state.take("$sys/shards", shards(5_000, 0, 0).as_bytes());
    assert_eq!(state.rates.unwrap().deliveries, 0.0);
    state.take("$sys/shards", shards(4_000, 10, 0).as_bytes());
    assert!(state.rates.is_none(), "a clock that was set back");
}

#[test]
fn gaps_are_bounded_and_what_cannot_be_read_is_passed_over() {
    let mut state = State::new(Sort::Lag);
    let gap = r#"{"at_ms":1,"client":"0.1.1","topic":"a","priority":"low","from":3,"to":7,"reason":"lag"}"#;
    for _ in 0..GAPS_MAX {
        state.take("$sys/gaps", format!(r#"{{"gaps":[{gap},{gap}],"left_out":1}}"#).as_bytes());
    }
    assert_eq!((state.gaps.len(), state.gaps_left_out), (GAPS_MAX, GAPS_MAX as u64));
    assert_eq!(state.gaps[0].lost.count(), 5);
    for wrong in ["", "7", "null", r#"{"gaps":7}"#, r#"{"by_lag":[{"used":"x"}]}"#, "\u{1b}[2J"] {
        for topic in ["$sys/gaps", "$sys/clients", "$sys/topics", "$sys/shards", "$sys/other"] {
            state.take(topic, wrong.as_bytes());
        }
    }
    assert_eq!(state.gaps.len(), GAPS_MAX);
}
